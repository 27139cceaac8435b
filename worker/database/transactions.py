"""transact(): one transaction an attempt, REPEATABLE READ unless told otherwise, run again from its start on a conflict."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, Final, Self, TypeVar

import aiomysql
import orjson
from tenacity import AsyncRetrying

from jobs.transaction import Parameters, Row, Statement, Transaction
from worker import metrics
from worker.database.connections import Connections, is_lost
from worker.database.deadlock_log import DeadlockLog, TellDeadlock
from worker.database.retry import DEADLOCK, DatabaseError, Kind, attempts
from worker.settings import Settings

Result = TypeVar("Result")


class Isolation(Enum):
    """The levels that work is done at."""

    REPEATABLE_READ = "REPEATABLE READ"
    READ_COMMITTED = (
        "READ COMMITTED"  # locks rows and no gaps: for those who must not stand in the way of inserts
    )


# Without SESSION the level holds for the next transaction only, so it cannot leak through the pool. One round trip.
_BEGIN: Final = {
    level: Statement("begin", f"SET TRANSACTION ISOLATION LEVEL {level.value}; START TRANSACTION")
    for level in Isolation
}
_COMMIT: Final = Statement("commit", "COMMIT")

_running: ContextVar[str | None] = ContextVar("running", default=None)


class Database:
    """The orders database: work in transactions, and single reads outside of them."""

    def __init__(self, settings: Settings, tell_deadlock: TellDeadlock | None = None) -> None:
        """`tell_deadlock` is told of the deadlocks that were explained, besides the log."""
        self._settings = settings
        self._connections = Connections(settings)
        self.committed = asyncio.Event()  # set by each commit; cleared by whoever waits for one
        # Half of the connections, for work of which there may be any number at once; who does it takes this first.
        self.one_of_many = asyncio.Semaphore(max(1, settings.mysql_connections // 2))
        # On a connection outside of the pool.
        self._deadlocks = DeadlockLog(lambda: Database(settings), tell_deadlock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection that nobody uses."""
        await self._deadlocks.close()
        await self._connections.close()

    async def transact(
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        *,
        job: str,
        isolation: Isolation = Isolation.REPEATABLE_READ,
        attempts_seconds: float | None = None,
    ) -> Result:
        """Commit what `work` does, and give what it returns. No new attempt after `attempts_seconds`.

        `work` may run many times, each time in a transaction of its own, so it must do nothing but run
        statements. Raises DatabaseError: a duplicate or a bug at once, a conflict or an outage when the attempts
        or the time are used up. After an outage the last attempt may have been committed all the same.
        """
        if outer := _running.get():
            raise RuntimeError(f"{job} began a transaction inside that of {outer}; pass the open one on")
        attempts = self._attempts(job, attempts_seconds)
        try:
            return await attempts(self._attempt, work, job, isolation)
        finally:
            metrics.ATTEMPTS.observe(attempts.statistics["attempt_number"], job)

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """Rows of one SELECT in autocommit, tried again after an outage."""
        return await self._attempts(statement.name, None)(self.fetch_once, statement, parameters)

    async def fetch_once(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """The same, tried once."""
        async with self._connections.lend() as connection:
            return await _Session(connection, self._settings.statement_seconds).fetch(statement, parameters)

    def _attempts(self, job: str, seconds: float | None) -> AsyncRetrying:
        return attempts(job, self._settings.transaction_seconds if seconds is None else seconds)

    async def _attempt(
        self, work: Callable[[Transaction], Awaitable[Result]], job: str, isolation: Isolation
    ) -> Result:
        async with self._connections.lend() as connection:
            session = _Session(connection, self._settings.statement_seconds)
            token = _running.set(job)
            try:
                with metrics.TRANSACTION_SECONDS.time(job):
                    await session.execute(_BEGIN[isolation], {})
                    result = await work(session)
                    await session.execute(_COMMIT, {})
            except DatabaseError as error:
                if error.code == DEADLOCK:
                    self._deadlocks.note(connection.thread_id(), job)
                raise
            finally:
                _running.reset(token)
                session.end()
            self.committed.set()
            return result


class Look:
    """Reads once: for those who look again and again, and for those who would rather be told of an outage than wait."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """Rows of one SELECT in autocommit."""
        return await self._database.fetch_once(statement, parameters)


class _Session:
    """Runs statements on one connection, one at a time, until the first that fails.

    After that every call raises the same error: the server may have rolled everything back, and a job that
    swallowed a deadlock must not commit the other half of its work.
    """

    def __init__(self, connection: aiomysql.Connection, statement_seconds: float) -> None:
        self._connection = connection
        self._statement_seconds = statement_seconds
        self._failure: Exception | None = None
        self._busy: str | None = None

    def end(self) -> None:
        """The connection goes back: whoever has kept this transaction must not write into the next one."""
        self._failure = self._failure or RuntimeError("the transaction has ended")

    async def execute(self, statement: Statement, parameters: Parameters) -> int:
        async with self._run(statement, parameters) as cursor:
            return int(cursor.rowcount)

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        async with self._run(statement, parameters) as cursor:
            rows: Sequence[Row] = await cursor.fetchall()
            return rows

    @asynccontextmanager
    async def _run(self, statement: Statement, parameters: Parameters) -> AsyncIterator[aiomysql.DictCursor]:
        if self._failure:
            raise self._failure
        if self._busy:
            self._failure = RuntimeError(
                f"{statement.name} began while {self._busy} ran; a connection does one thing at a time"
            )
            raise self._failure
        self._busy = statement.name
        try:
            with metrics.STATEMENT_SECONDS.time(statement.name):
                async with asyncio.timeout(self._statement_seconds):
                    cursor = await self._connection.cursor(aiomysql.DictCursor)
                    await cursor.execute(statement.text, _encode(parameters))
                    while await cursor.nextset():
                        pass
        except Exception as error:
            # uvloop says RuntimeError where a connection was reset
            reset = isinstance(error, RuntimeError) and is_lost(self._connection)
            self._failure = failure = DatabaseError(statement.name, error, Kind.OUTAGE if reset else None)
            if failure.kind is Kind.CONFLICT:
                metrics.CONFLICTS.labels(str(failure.code), statement.name).inc()
            raise failure from error
        finally:
            self._busy = None
        yield cursor


def _encode(parameters: Parameters) -> Mapping[str, Any]:
    return {
        name: orjson.dumps(value).decode() if isinstance(value, list) else value
        for name, value in parameters.items()
    }
