"""A proxy before the server: it keeps new connections waiting, and loses the answer to a COMMIT, when told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final, Self
from urllib.parse import urlsplit

CHUNK: Final = 65536


class Loss(Enum):
    """What becomes of the next COMMIT's answer, after the server has given it."""

    WITHHELD = "the client waits on"
    CUT = "the connection is lost"


class Proxy:
    """Passes bytes on."""

    def __init__(self, mysql_url: str) -> None:
        self._server = urlsplit(mysql_url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.gate = asyncio.Event()  # clear it, and new connections get no greeting
        self.gate.set()
        self.stalled = asyncio.Event()  # somebody stands at the gate
        self.loss: Loss | None = None  # for one COMMIT
        self.committed = asyncio.Event()  # the server has committed, and the client does not know
        self.mysql_url = ""

    @classmethod
    @asynccontextmanager
    async def before(cls, mysql_url: str) -> AsyncIterator[Self]:
        """A proxy on a port of its own."""
        proxy = cls(mysql_url)
        listener = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        url = urlsplit(mysql_url)
        user = url.netloc.rpartition("@")[0]
        port = listener.sockets[0].getsockname()[1]
        proxy.mysql_url = url._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
        try:
            yield proxy
        finally:
            listener.close()
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)
            await listener.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self.gate.is_set():
                self.stalled.set()
                await self.gate.wait()
            server_reader, server_writer = await asyncio.open_connection(
                self._server.hostname, self._server.port or 3306
            )
            try:
                await self._pass_on(reader, writer, server_reader, server_writer)
            finally:
                server_writer.close()
        finally:
            writer.close()

    async def _pass_on(
        self,
        client_reader: asyncio.StreamReader,
        client_writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        loss: asyncio.Queue[Loss] = asyncio.Queue()
        pumps = [
            asyncio.create_task(self._pass_questions(client_reader, server_writer, loss)),
            asyncio.create_task(self._pass_answers(server_reader, client_writer, loss)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pass_questions(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, loss: asyncio.Queue[Loss]
    ) -> None:
        while data := await client.read(CHUNK):
            if self.loss and b"COMMIT" in data:
                loss.put_nowait(self.loss)
                self.loss = None
            server.write(data)

    async def _pass_answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, loss: asyncio.Queue[Loss]
    ) -> None:
        while data := await server.read(CHUNK):
            if loss.empty():
                client.write(data)
                continue
            self.committed.set()
            if loss.get_nowait() is Loss.CUT:
                return
