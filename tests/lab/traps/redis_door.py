"""A door before Redis: while it is shut, whoever was inside is thrown out, and nobody gets in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

CHUNK: Final = 65536


class Door:
    """A way to Redis on a port of its own."""

    def __init__(self, redis_url: str) -> None:
        self._url = urlsplit(redis_url)
        self._listener: asyncio.Server | None = None
        self._port = 0  # any, the first time
        self._visits: set[asyncio.Task[None]] = set()
        self.swallows = False  # what anybody says, either way

    @asynccontextmanager
    async def stand(self) -> AsyncIterator[str]:
        """The URL that leads through the door."""
        await self.open()
        credentials, at, _ = self._url.netloc.rpartition("@")
        try:
            yield self._url._replace(netloc=f"{credentials}{at}127.0.0.1:{self._port}").geturl()
        finally:
            await self.shut()

    async def open(self) -> None:
        """Let everybody in."""
        self._listener = await asyncio.start_server(self._come, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse connections, as a Redis does that is down, and cut those that are there."""
        if self._listener:
            self._listener.close()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        if self._listener:
            await self._listener.wait_closed()
        self._listener = None

    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.create_task(self._lead(reader, writer))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)
        visit.add_done_callback(lambda _: writer.close())  # it may be thrown out before it has begun

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(self._url.hostname, self._url.port or 6379)
        try:
            await asyncio.gather(self._pass_on(reader, inner_writer), self._pass_on(inner_reader, writer))
        finally:
            inner_writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if not self.swallows:
                    writer.write(data)
                    await writer.drain()
        writer.close()
