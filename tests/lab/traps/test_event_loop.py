"""The traps of the event loop itself."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiomysql
import pymysql
import pytest
from pymysql import err

from jobs.transaction import Transaction
from tests.asking import Session, until_waiting
from tests.lab.traps.bare import (
    available,
    open_connection,
    options,
    query,
    session_id,
    take_one,
    take_one_each,
)
from tests.shop import open_shop
from worker.database.transactions import Database
from worker.settings import Settings

Result = TypeVar("Result")


async def test_blocked_loop_wrong_the_holder_cannot_run_to_free_the_row(
    settings: Settings, database: Database
) -> None:
    """Q14. A call that blocks the event loop makes every open transaction as long as itself."""
    await open_shop(database, {1: 5})
    holds, may_commit = asyncio.Event(), asyncio.Event()
    async with open_connection(settings.mysql_url) as connection:

        async def holder() -> None:
            await query(connection, "BEGIN")
            await take_one(connection, 1)
            holds.set()
            await may_commit.wait()
            await connection.commit()

        task = asyncio.create_task(holder())
        await holds.wait()
        may_commit.set()
        blocking = pymysql.connect(
            **options(settings.mysql_url), init_command="SET innodb_lock_wait_timeout = 1"
        )
        with blocking, blocking.cursor() as cursor, pytest.raises(err.OperationalError, match="1205"):
            cursor.execute("UPDATE stock SET available = 0 WHERE product_id = 1")
        await task


async def test_blocked_loop_right_whoever_waits_lets_the_holder_run(
    database: Database, session: Session, other_session: Session
) -> None:
    """Q14. Everything in the worker waits in the loop, so the holder commits and the other goes on."""
    await open_shop(database, {1: 5})
    holds, may_commit = asyncio.Event(), asyncio.Event()

    async def hold(transaction: Transaction) -> None:
        await take_one_each(transaction, 1)
        holds.set()
        await may_commit.wait()

    first = asyncio.create_task(database.transact(hold, job="first"))
    await holds.wait()
    work = database.transact(lambda transaction: take_one_each(transaction, 1), job="second")
    second = asyncio.create_task(work)
    await until_waiting(other_session, 1)
    may_commit.set()
    await asyncio.gather(first, second)
    assert await available(session, 1) == [3]


def in_a_loop_of_its_own(*steps: Coroutine[Any, Any, Result]) -> list[Result]:
    """Run each in a new event loop, as a thread or a second asyncio.run does."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.extend(asyncio.run(step) for step in steps))
    thread.start()
    thread.join()
    return results


async def test_foreign_loop_wrong_a_pool_of_another_loop_cannot_be_used(settings: Settings) -> None:
    """Q15. A pool made in one event loop hands out connections that only that loop can read."""
    other_loop = asyncio.new_event_loop()

    def run(step: Coroutine[Any, Any, Any]) -> Any:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(other_loop.run_until_complete(step)))
        thread.start()
        thread.join()
        return results[0]

    async def make() -> aiomysql.Pool:
        return await aiomysql.create_pool(minsize=1, maxsize=1, **options(settings.mysql_url))

    async def close(pool: aiomysql.Pool) -> None:
        pool.terminate()
        await pool.wait_closed()

    pool = run(make())
    connection = await pool.acquire()
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        await query(connection, "SELECT 1")
    run(close(pool))
    other_loop.close()


async def test_foreign_loop_right_a_database_works_in_one_loop_after_the_other(settings: Settings) -> None:
    """Q15. It connects in the loop that asks, and nothing of that loop is left when it is closed."""
    database = Database(settings)

    async def use() -> int:
        async with database:
            return await database.transact(session_id, job="test")

    assert len(set(in_a_loop_of_its_own(use(), use()))) == 2
