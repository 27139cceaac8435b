"""Sessions of a test's own, and questions to the server: who waits, who is there. Nothing here sleeps to make an order."""

import asyncio
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import aiomysql
from pymysql import err

from worker.settings import Settings

ASK_SECONDS: Final = 0.11  # INNODB_TRX is a cache of 100 ms: asked faster, it never changes
_TRANSACTION: Final = re.compile(
    r"^---TRANSACTION .*?(?=^---TRANSACTION |^--------\n|\Z)", re.MULTILINE | re.DOTALL
)
_THREAD: Final = re.compile(r"thread id (\d+),")
# MySQL's status text leaves out a transaction that has only read (shared locks of SERIALIZABLE, FOR SHARE).
WAITING_READERS: Final = """SELECT processlist_id
  FROM performance_schema.data_locks JOIN performance_schema.threads USING (thread_id)
 WHERE lock_status = 'WAITING' AND processlist_id IS NOT NULL"""
PATIENCE_SECONDS: Final = 60  # so that a hang ends; a slow machine does not get here
# Settings of a worker in a test that is about none of these: on a slow machine production's own may run out.
PATIENT: Final[dict[str, Any]] = {
    "connection_seconds": 30,
    "lock_wait_seconds": 30,
    "statement_seconds": 35,
    "transaction_seconds": 40,
    "job_seconds": 45,
    "stop_seconds": 50,
    "busy_seconds": 600,
}
Answer = TypeVar("Answer")


class Session:
    """One connection that runs literal SQL."""

    def __init__(self, connection: aiomysql.Connection) -> None:
        self._connection = connection
        self.database: str = connection.db

    async def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run one statement; its rows."""
        cursor = await self._connection.cursor(aiomysql.DictCursor)
        # MySQL 9 calls SHOW PROCESSLIST deprecated. pytest restores the filter; here it would disturb other tasks.
        warnings.simplefilter("ignore", err.Warning)
        await cursor.execute(sql, parameters)
        return list(await cursor.fetchall())

    async def value(self, sql: str) -> Any:  # whatever the column holds
        """The single value of a statement."""
        ((value,),) = [tuple(row.values()) for row in await self.run(sql)]
        return value


def owner_url(settings: Settings) -> str:
    """Of sessions that make tables, or ask the server what its administrator alone may know."""
    return settings.migration_url or settings.mysql_url


@asynccontextmanager
async def open_session(mysql_url: str) -> AsyncIterator[Session]:
    """A session in autocommit."""
    url = urlsplit(mysql_url)
    connection = await aiomysql.connect(
        host=url.hostname, port=url.port or 3306, user=unquote(url.username or ""),
        password=unquote(url.password or ""), db=url.path.strip("/"), charset="utf8mb4", autocommit=True,
    )  # fmt: skip
    try:
        yield Session(connection)
    finally:
        connection.close()


def lock_waiters(innodb_status: str) -> set[int]:
    """The sessions that wait for a row lock, from SHOW ENGINE INNODB STATUS: the one view that is not cached."""
    live = innodb_status.partition("\nTRANSACTIONS\n")[2]
    return {
        int(thread[1])
        for transaction in _TRANSACTION.findall(live)
        if "\nLOCK WAIT " in transaction and (thread := _THREAD.search(transaction))
    }


async def waiting_sessions(session: Session) -> set[int]:
    """The sessions of this database that wait for a row lock, as of now."""
    ours = {row["Id"] for row in await session.run("SHOW PROCESSLIST") if row["db"] == session.database}
    ((status),) = await session.run("SHOW ENGINE INNODB STATUS")
    waiting = lock_waiters(status["Status"])
    if "MariaDB" not in await session.value("SELECT VERSION()"):
        waiting |= {int(row["processlist_id"]) for row in await session.run(WAITING_READERS)}
    return ours & waiting


async def until_waiting(session: Session, count: int) -> set[int]:
    """Wait until exactly `count` sessions wait for a lock."""

    async def enough() -> set[int] | None:
        waiting = await waiting_sessions(session)
        return waiting if len(waiting) == count else None

    return await until(enough, f"{count} sessions to wait for a lock")


async def until_gone(session: Session, session_id: int) -> None:
    """Wait until the server has ended a session."""

    async def gone() -> bool:
        return session_id not in {row["Id"] for row in await session.run("SHOW PROCESSLIST")}

    await until(gone, f"session {session_id} to end")


async def until(ask: Callable[[], Awaitable[Answer | None]], what: str) -> Answer:
    """Ask until the answer is true."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        if answer := await ask():
            return answer
        await asyncio.sleep(ASK_SECONDS)
    raise AssertionError(f"waited {PATIENCE_SECONDS} s for {what}")
