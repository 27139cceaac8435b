"""A proxy before MySQL or Redis that can tell one command from the next, and breaks off before or after any of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from hashlib import sha1
from importlib import import_module
from pkgutil import iter_modules
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import hiredis

import worker.queue
from worker.database.named_statements import name_statement

CHUNK: Final = 65536
_ID: Final = re.compile(r"(bulk:)?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")
_COM_QUIT: Final = 1
_COM_QUERY: Final = 3
_SCRIPTS: Final = {
    sha1(text.encode(), usedforsecurity=False).hexdigest(): name.strip("_").lower()
    for module in iter_modules(worker.queue.__path__, "worker.queue.")
    for name, text in vars(import_module(module.name)).items()
    if isinstance(text, str) and "redis.call" in text
}


class Fault(Enum):
    """What happens at a command; before it has reached the server, or when the server has answered and nobody knows."""

    KILL_BEFORE = "killed before"
    KILL_AFTER = "killed after"
    CUT_BEFORE = "cut before"
    CUT_AFTER = "cut after"
    DELAY = "delayed"


KILLS: Final = frozenset({Fault.KILL_BEFORE, Fault.KILL_AFTER})
_AFTER: Final = frozenset({Fault.KILL_AFTER, Fault.CUT_AFTER})


class Command(NamedTuple):
    """What a client sends at a time; without a name it is part of connecting or parting."""

    name: str | None
    data: bytes


class Dialect(Protocol):
    """How a server is spoken to, on one connection."""

    def commands(self, client: asyncio.StreamReader) -> AsyncIterator[Command]:
        """What the client says, until it goes."""
        ...

    def is_answer(self, data: bytes) -> bool:
        """Whether the server has answered the last command with what it has said since."""
        ...


class MySQL:
    """The client speaks in packets, of which the first of a command is numbered 0."""

    def __init__(self) -> None:
        self._statement = ""

    async def commands(self, client: asyncio.StreamReader) -> AsyncIterator[Command]:
        while True:
            header = await client.readexactly(4)
            payload = await client.readexactly(int.from_bytes(header[:3], "little"))
            is_command = header[3] == 0 and payload[0] != _COM_QUIT
            yield Command(self._name(payload) if is_command else None, header + payload)

    def is_answer(self, _: bytes) -> bool:
        """It begins to answer when the statement is done (the first of several: it does the others all the same)."""
        return True

    def _name(self, payload: bytes) -> str:
        text = payload[1:].decode(errors="replace") if payload[0] == _COM_QUERY else f"COM {payload[0]}"
        known = name_statement(text) or re.sub(r"\d+", "*", text[:80])
        name = f"COMMIT after {self._statement}" if known == "COMMIT" else known
        self._statement = known
        return name


class Redis:
    """The client may send many commands at a time; they are passed on one by one."""

    def __init__(self) -> None:
        self._answers = hiredis.Reader()

    async def commands(self, client: asyncio.StreamReader) -> AsyncIterator[Command]:
        reader = hiredis.Reader()
        while data := await client.read(CHUNK):
            reader.feed(data)
            while (words := reader.gets()) is not False:
                yield Command(self._name(words), hiredis.pack_command(tuple(words)))

    def is_answer(self, data: bytes) -> bool:
        self._answers.feed(data)
        return self._answers.gets() is not False

    def _name(self, words: list[bytes]) -> str:
        verb = words[0].decode().upper()
        if verb == "EVAL":
            return f"script {_SCRIPTS[sha1(words[1], usedforsecurity=False).hexdigest()]}"
        if verb == "EVALSHA":
            return f"script {_SCRIPTS[words[1].decode()]}"
        return " ".join([verb, *(_ID.sub("*", word.decode(errors="replace")) for word in words[1:2])])


@dataclass(frozen=True, slots=True)
class Door:
    """Where a proxy stands, and what it is to do at each command that comes by."""

    server_url: str
    dialect: Callable[[], Dialect]
    at: Callable[[str], Fault | None]  # asked with the command's name
    kill: Callable[[], None]
    delay_seconds: float


@asynccontextmanager
async def stand(door: Door) -> AsyncIterator[str]:
    """Serve at a port of its own; the URL that leads through it."""
    visits: set[asyncio.Task[None]] = set()

    def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.create_task(_Visit(door).serve(reader, writer))
        visits.add(visit)
        visit.add_done_callback(visits.discard)

    listener = await asyncio.start_server(come, "127.0.0.1", 0)
    url = urlsplit(door.server_url)
    credentials, at, _ = url.netloc.rpartition("@")
    port = listener.sockets[0].getsockname()[1]
    try:
        yield url._replace(netloc=f"{credentials}{at}127.0.0.1:{port}").geturl()
    finally:
        listener.close()
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        await listener.wait_closed()


@asynccontextmanager
async def _closed_at_the_end(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class _Visit:
    """One connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._dialect = door.dialect()
        self._commands: asyncio.Queue[Command | None] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._answered.set()
        self._fault: Fault | None = None  # at the answer that comes next

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        url = urlsplit(self._door.server_url)
        async with _closed_at_the_end(to_client):
            server, to_server = await asyncio.open_connection(url.hostname, url.port)
            async with _closed_at_the_end(to_server):
                await self._pass_on(client, to_client, server, to_server)

    async def _pass_on(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        listening = asyncio.create_task(self._listen(client))
        passing = [
            asyncio.create_task(self._pass_commands(to_server)),
            asyncio.create_task(self._pass_answers(server, to_client)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (listening, *passing):
                task.cancel()
            await asyncio.gather(listening, *passing, return_exceptions=True)

    async def _listen(self, client: asyncio.StreamReader) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            async for command in self._dialect.commands(client):
                self._commands.put_nowait(command)
        self._commands.put_nowait(None)  # behind what it has said, as on the wire

    async def _pass_commands(self, to_server: asyncio.StreamWriter) -> None:
        while command := await self._commands.get():
            if command.name:
                await self._answered.wait()
                self._answered.clear()
                fault = self._door.at(command.name)
                if fault is Fault.DELAY:
                    await asyncio.sleep(self._door.delay_seconds)
                elif fault in _AFTER:
                    self._fault = fault
                elif fault:
                    self._break_off(fault)
                    return
            to_server.write(command.data)

    async def _pass_answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await server.read(CHUNK):
                if self._dialect.is_answer(data):
                    if self._fault:
                        self._break_off(self._fault)
                        return
                    self._answered.set()
                to_client.write(data)

    def _break_off(self, fault: Fault) -> None:
        if fault in KILLS:
            self._door.kill()
