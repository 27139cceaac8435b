"""The pool by itself: what a borrower leaves behind is gone before the next one comes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiomysql
import pytest
from pymysql import err

from tests.asking import Session, until_gone
from tests.integration.patience import NEVER
from tests.shop import open_shop
from worker.database.connections import Connections
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.settings import Settings


@pytest.fixture
async def connections(settings: Settings) -> AsyncIterator[Connections]:
    """A pool of one."""
    pool = Connections(settings.model_copy(update={"mysql_connections": 1}))
    yield pool
    await pool.close()


async def run(connection: aiomysql.Connection, sql: str) -> None:
    cursor = await connection.cursor()
    await cursor.execute(sql)


async def lend_and_fail(connections: Connections, *statements: str) -> aiomysql.Connection:
    """Borrow, run, and leave with an error, whether one of the statements raises it or not."""
    with contextlib.suppress(KeyError, err.MySQLError):
        async with connections.lend() as connection:
            for sql in statements:
                await run(connection, sql)
            raise KeyError
    return connection


async def test_what_a_failed_borrower_has_begun_is_rolled_back(
    connections: Connections, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    connection = await lend_and_fail(connections, "BEGIN", "UPDATE stock SET available = 0")
    assert await session.value("SELECT available FROM stock FOR UPDATE NOWAIT") == 5
    async with connections.lend() as same:
        assert same is connection
        assert not same.get_transaction_status()


async def test_a_closed_connection_does_not_come_back(connections: Connections) -> None:
    connection = await lend_and_fail(connections, "KILL CONNECTION_ID()")
    async with connections.lend() as other:
        assert other is not connection


async def test_the_session_of_a_connection_that_was_cut_is_ended(
    connections: Connections, session: Session
) -> None:
    async def sleep() -> None:
        async with connections.lend() as connection:
            sessions.append(connection.thread_id())
            await run(connection, f"SELECT SLEEP({NEVER})")

    async def kills() -> int:
        ((row),) = await session.run("SHOW GLOBAL STATUS LIKE 'Com_kill'")
        return int(row["Value"])

    before = await kills()
    sessions: list[int] = []
    task = asyncio.create_task(sleep())
    while not sessions:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_gone(session, sessions[0])
    assert await kills() > before, (
        "MariaDB notices after some seconds that nobody listens; locks are not kept for so long"
    )


async def test_the_server_ends_a_session_that_says_nothing(
    connections: Connections, settings: Settings
) -> None:
    """A frozen worker keeps its locks for so long; a job that runs is never silent for two job times."""
    async with connections.lend() as connection:
        cursor = await connection.cursor()
        await cursor.execute("SELECT @@wait_timeout")
        assert await cursor.fetchall() == ((max(30, 2 * settings.job_seconds),),)


async def test_the_wait_for_a_connection_is_bounded_and_costs_no_slot(
    connections: Connections, settings: Settings
) -> None:
    async with connections.lend():
        # Not before: it bounds the time to connect, too.
        connections._settings = settings.model_copy(update={"connection_seconds": 0.2})
        for _ in range(3):
            with pytest.raises(DatabaseError, match="connect"):
                async with connections.lend():
                    pass
    async with connections.lend() as connection:
        assert not connection.closed


async def test_a_connect_that_fails_costs_no_slot(settings: Settings) -> None:
    gone = Connections(
        settings.model_copy(update={"mysql_connections": 1, "mysql_url": "mysql://x@127.0.0.1:1/x"})
    )
    for _ in range(3):
        with pytest.raises(DatabaseError, match="2003"):
            async with gone.lend():
                pass
    await gone.close()


async def test_a_connection_that_broke_at_rest_is_closed_with_the_pool(
    connections: Connections, session: Session
) -> None:
    async with connections.lend() as connection:
        pass
    await session.run(f"KILL {connection.thread_id()}")
    await until_gone(session, connection.thread_id())
    connection._writer.write(b"\0")  # the answer to which is that nobody is there
    with contextlib.suppress(OSError):
        await connection._reader.read()
    await connections.close()
    assert connection.closed
