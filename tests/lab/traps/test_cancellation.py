"""The traps of cancellation."""

import asyncio

import pytest

from jobs.orders.locks import lock_stock
from jobs.transaction import Transaction
from tests.asking import PATIENCE_SECONDS, Session, until_gone, until_waiting, waiting_sessions
from tests.lab.traps.bare import (
    LOCKED,
    available,
    code_of,
    one_connection,
    open_connection,
    query,
    take_one,
    take_one_each,
)
from tests.shop import open_shop
from worker.database import connections
from worker.database.transactions import Database
from worker.settings import Settings


async def test_zombie_wrong_a_cancelled_waiter_keeps_its_locks(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """Q02. Cancellation closes the socket; the server's session does not look at it while it waits."""
    await open_shop(database, {1: 5, 2: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
    async with open_connection(settings.mysql_url) as connection:
        await query(connection, "BEGIN")
        await take_one(connection, 1)
        task = asyncio.create_task(take_one(connection, 2))
        (zombie,) = await until_waiting(other_session, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await waiting_sessions(other_session) == {zombie}
    nowait = other_session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE NOWAIT")
    assert await code_of(nowait) in LOCKED
    await session.run("COMMIT")
    await until_gone(other_session, zombie)


async def test_zombie_wrong_a_cancelled_statement_is_done_later(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """Q02. In autocommit the zombie even writes, when it gets its lock at last."""
    await open_shop(database, {1: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE")
    async with open_connection(settings.mysql_url) as connection:
        task = asyncio.create_task(take_one(connection, 1))
        (zombie,) = await until_waiting(other_session, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await session.run("COMMIT")
    await until_gone(other_session, zombie)
    assert await available(session, 1) == [4]


async def test_zombie_right_a_cancelled_waiter_is_killed(
    settings: Settings, session: Session, other_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q02. Nothing waits and nothing is locked, while the one whom it waited for goes on."""
    monkeypatch.setattr(connections, "CLEAN_UP_SECONDS", PATIENCE_SECONDS)
    # So long that only the KILL can end it before this test gives up.
    long = 2 * PATIENCE_SECONDS
    patient = settings.model_copy(update={"lock_wait_seconds": long, "statement_seconds": long})
    async with Database(patient) as database:
        await open_shop(database, {1: 5, 2: 5})
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
        work = database.transact(lambda transaction: take_one_each(transaction, 1, 2), job="test")
        task = asyncio.create_task(work)
        (zombie,) = await until_waiting(other_session, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_gone(other_session, zombie)
        nowait = other_session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE NOWAIT")
        assert await code_of(nowait) is None
        await session.run("COMMIT")
        assert await available(session, 1, 2) == [5, 5]


async def test_cancelled_half_wrong_the_next_begin_commits_it(
    settings: Settings, database: Database, session: Session
) -> None:
    """Q03. `except Exception` does not see a cancellation, and BEGIN commits what is open."""
    await open_shop(database, {1: 5, 2: 5})
    half_done = asyncio.Event()
    async with open_connection(settings.mysql_url) as connection:

        async def job() -> None:
            try:
                await query(connection, "BEGIN")
                await take_one(connection, 1)
                half_done.set()
                await asyncio.Event().wait()  # the payment, say
                await take_one(connection, 2)
                await connection.commit()
            except Exception:
                await connection.rollback()
                raise

        task = asyncio.create_task(job())
        await half_done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await query(connection, "BEGIN")
    assert await available(session, 1, 2) == [4, 5]


async def test_cancelled_half_right_it_is_rolled_back_before_the_connection_is_lent_again(
    settings: Settings, session: Session
) -> None:
    """Q03. The way out of a transaction is the same for every BaseException, and outlives the cancellation."""
    async with Database(one_connection(settings)) as database:
        await open_shop(database, {1: 5, 2: 5})
        half_done = asyncio.Event()

        async def job(transaction: Transaction) -> None:
            await take_one_each(transaction, 1)
            half_done.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(database.transact(job, job="test"))
        await half_done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await database.transact(lambda again: lock_stock(again, [1]), job="test"))[1].available == 5
        assert await available(session, 1, 2) == [5, 5]
