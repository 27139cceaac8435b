"""Runs a schedule: each line is sent when the one before it is done or is known to wait."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

from pymysql import err

from tests.asking import PATIENCE_SECONDS
from tests.lab.server import Server, Session
from tests.lab.specification import Line, Pitfall, Schedule, statements

ASK_SECONDS: Final = 0.005
CONFIRMATIONS: Final = 3  # asks in a row that see the same wait
# Several waits may be a deadlock, which a busy machine can keep the server from finding for a while.
DEADLOCK_CONFIRMATIONS: Final = 20
DEADLOCK: Final = "<error 1213>"
SILENT: Final = ("BEGIN", "START", "COMMIT", "ROLLBACK", "SET", "SAVEPOINT", "RELEASE", "USE", "DO")


class Run:
    """One run of one schedule on sessions of its own; `transcript` is what happened."""

    def __init__(self, server: Server, schedule: Schedule, sessions: dict[str, Session]) -> None:
        self._server = server
        self._schedule = schedule
        self._sessions = sessions
        self._running: dict[str, asyncio.Task[str]] = {}
        self._backlog: list[Line] = []  # lines whose session still waits for an earlier one
        self.transcript: list[str] = []

    async def play(self) -> None:
        """All lines, then what is left of the backlog, then the looks afterwards."""
        for line in self._schedule.lines:
            if line.session == "after":
                await self._finish()
            await self._take(line)
        await self._finish()

    async def _finish(self) -> None:
        """Wait for those that wait, however long: the server ends each wait."""
        while self._running:
            await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
            await self._settle()
            await self._work_off()

    async def _take(self, line: Line) -> None:
        if line.session in self._running or any(line.session == later.session for later in self._backlog):
            self._backlog.append(line)
            return
        await self._send(line)
        await self._work_off()

    async def _work_off(self) -> None:
        """Lines whose session has resumed."""
        while ready := [line for line in self._backlog if line.session not in self._running]:
            self._backlog.remove(ready[0])
            await self._send(ready[0])

    async def _send(self, line: Line) -> None:
        session = self._sessions[line.session]
        self._running[line.session] = asyncio.create_task(_result(session, line.sql))
        self.transcript.append(f"{line.session}: {line.sql}")
        await self._settle(line.session)

    async def _settle(self, sent: str | None = None) -> None:
        """Until every session is done or waits, and the waits are not those of a deadlock about to be found."""
        results: dict[str, str] = {}
        waits_seen, confirmations = None, 0
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while self._running and confirmations < self._enough():
            assert asyncio.get_running_loop().time() < deadline, "a session is neither done nor known to wait"
            await asyncio.wait(self._running.values(), timeout=ASK_SECONDS)
            if done := [name for name, task in self._running.items() if task.done()]:
                results |= {name: self._running.pop(name).result() for name in done}
                waits_seen, confirmations = None, 0
                continue
            waits = await self._server.waiting() & {self._sessions[name].id for name in self._running}
            all_wait = len(waits) == len(self._running)
            confirmations = confirmations + 1 if all_wait and waits == waits_seen else 0
            waits_seen = waits
        self._write_down(sent, results)

    def _enough(self) -> int:
        return CONFIRMATIONS if len(self._running) == 1 else DEADLOCK_CONFIRMATIONS

    def _write_down(self, sent: str | None, results: dict[str, str]) -> None:
        """The line that was sent comes first, then those it has let go on, by name."""
        victims = {name: results[name] for name in self._schedule.victims if name in results}
        if DEADLOCK not in victims.values():
            victims = {}
        results = {name: result for name, result in results.items() if name not in victims}
        if sent in results:
            result = results.pop(sent)
            self.transcript[-1] += f"  {result}" if result else ""
        elif sent and sent not in victims:
            self.transcript[-1] += "  <waits>"
        if victims:
            survivors = sorted(result for result in victims.values() if result != DEADLOCK)
            self.transcript.append(f"exactly one of {', '.join(self._schedule.victims)}: {DEADLOCK}")
            self.transcript += [f"the other: {result}" for result in survivors]
        self.transcript += [f"{name}: <resumes>  {results[name]}" for name in sorted(results)]


async def _result(session: Session, sql: str) -> str:
    try:
        changed, rows = await session.run(sql)
    except err.MySQLError as error:
        return f"<error {error.args[0]}>"
    if rows is not None:
        return "-> " + (" ".join(f"({', '.join(map(_value, row))})" for row in rows) or "nothing")
    if sql.upper().startswith(SILENT):
        return ""
    return f"{changed} row{'s' if changed != 1 else ''}"


def _value(value: Any) -> str:  # whatever a column holds
    return "NULL" if value is None else repr(value) if isinstance(value, str) else str(value)


async def run_schedule(server: Server, pitfall: Pitfall, schedule: Schedule, level: str) -> list[str]:
    """The transcript of a schedule at a level, in a database that is gone afterwards, however it ends."""
    database = f"lab_{pitfall.header['id'].lower()}"
    async with AsyncExitStack() as stack:
        await server.run(f"DROP DATABASE IF EXISTS {database}")
        await server.run(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
        stack.push_async_callback(server.run, f"DROP DATABASE IF EXISTS {database}")
        sessions = {}
        for name in [*schedule.sessions, "after"]:
            sessions[name] = await server.open_session(name, database, level if name != "after" else "RC")
            stack.push_async_callback(_end, server, sessions[name])
        for statement in statements(pitfall.setup):
            await sessions["after"].run(statement)
        run = Run(server, schedule, sessions)
        await run.play()
        return run.transcript


async def _end(server: Server, session: Session) -> None:
    """Close a session, and wait until the server has given up what it held."""
    number = session.id
    session.connection.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while number in {int(row[0]) for row in await server.run("SHOW PROCESSLIST")}:
            await asyncio.sleep(ASK_SECONDS)
