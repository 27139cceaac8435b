"""The traps of connection pools."""

import asyncio
from typing import Any

import pytest
import structlog

from jobs.transaction import Statement, Transaction
from tests.asking import PATIENCE_SECONDS, Session
from tests.lab.traps.bare import (
    DEADLOCK,
    MANY,
    SESSION_ID,
    available,
    close_the_cycle,
    code_of,
    one_connection,
    open_pool,
    query,
    session_id,
    take_one,
    take_one_each,
    write_all_but_product_1,
)
from tests.lab.traps.proxy import Proxy
from tests.shop import open_shop
from worker.database import connections
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.settings import Settings

BROKEN = Statement("broken", "UPDATE")


async def until_parked(lock: Any) -> None:
    """Wait until somebody waits for a semaphore or a condition of this process."""
    while not lock._waiters:
        await asyncio.sleep(0)


async def test_lost_wake_up_wrong_a_waiter_sleeps_beside_an_empty_pool(settings: Settings) -> None:
    """Q01. A connection that comes back in a transaction is closed, and nobody is told of its place."""
    async with open_pool(settings.mysql_url, size=1) as pool:
        connection = await pool.acquire()
        await query(connection, "BEGIN")
        waiter = asyncio.ensure_future(pool.acquire())
        await until_parked(pool._cond)
        await pool.release(connection)
        _, pending = await asyncio.wait([waiter], timeout=0.3)
        assert (pending, pool.size) == ({waiter}, 0), "it waits, although nobody has a connection"
        await pool._wakeup()  # all that was missing
        pool.release(await waiter)


async def test_lost_wake_up_right_a_waiter_gets_the_place_of_a_failed_transaction(settings: Settings) -> None:
    """Q01. The semaphore is released however the connection comes back."""
    async with Database(one_connection(settings)) as database:
        inside, fail = asyncio.Event(), asyncio.Event()

        async def failing(transaction: Transaction) -> None:
            inside.set()
            await fail.wait()
            await transaction.execute(BROKEN, {})

        task = asyncio.create_task(database.transact(failing, job="failing"))
        await inside.wait()
        waiter = asyncio.create_task(database.fetch(SESSION_ID, {}))
        await until_parked(database._connections._slots)
        with structlog.testing.capture_logs() as logs:
            fail.set()
            assert len(await waiter) == 1
        assert "outage" not in {log["event"] for log in logs}, (
            "it was woken up, and did not have to ask again"
        )
        with pytest.raises(DatabaseError, match="broken: 1064"):
            await task


async def test_hold_and_wait_wrong_every_job_waits_for_a_second_connection(settings: Settings) -> None:
    """Q06. As many jobs as connections, and each wants one more: nobody ever gets it."""
    async with open_pool(settings.mysql_url, size=2) as pool:
        all_hold_one = asyncio.Barrier(2)

        async def job() -> None:
            async with pool.acquire():
                await all_hold_one.wait()
                async with pool.acquire() as second:
                    await query(second, "SELECT 1")

        jobs = {asyncio.create_task(job()) for _ in range(2)}
        _, pending = await asyncio.wait(jobs, timeout=0.3)
        assert pending == jobs
        for one in jobs:
            one.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def test_hold_and_wait_right_a_job_passes_its_open_transaction_on(settings: Settings) -> None:
    """Q06. A second transaction inside the first is refused, and a second connection is waited for in vain, not for ever."""
    async with Database(settings.model_copy(update={"mysql_connections": 2})) as database:
        all_hold_one = asyncio.Barrier(2)
        ends: list[str] = []

        async def job(transaction: Transaction) -> int:
            await all_hold_one.wait()
            # Not before: it bounds the time to connect, too.
            database._connections._settings = settings.model_copy(update={"connection_seconds": 0.1})
            with pytest.raises(RuntimeError, match="inner began a transaction inside that of outer"):
                await database.transact(session_id, job="inner")
            with pytest.raises(DatabaseError, match="connect: "):
                await database.fetch(SESSION_ID, {})
            ends.append("bounded")
            await all_hold_one.wait()
            return await session_id(transaction)

        jobs = [asyncio.create_task(database.transact(job, job="outer")) for _ in range(2)]
        done, _ = await asyncio.wait(jobs, timeout=PATIENCE_SECONDS)
        assert len(done) == 2
        assert len({await one for one in jobs}) == 2
        assert ends == ["bounded"] * 2


async def test_connect_convoy_wrong_one_slow_connect_blocks_a_free_connection(settings: Settings) -> None:
    """Q08. The pool connects while it holds its own lock."""
    async with Proxy.before(settings.mysql_url) as proxy, open_pool(proxy.mysql_url, size=2) as pool:
        first = await pool.acquire()
        proxy.gate.clear()
        slow = asyncio.ensure_future(pool.acquire())
        await proxy.stalled.wait()
        pool.release(first)
        third = asyncio.ensure_future(pool.acquire())
        _, pending = await asyncio.wait([third], timeout=0.3)
        assert (pending, pool.freesize) == ({third}, 1)
        proxy.gate.set()
        for connection in await asyncio.gather(slow, third):
            pool.release(connection)


async def test_connect_convoy_right_a_free_connection_is_lent_meanwhile(settings: Settings) -> None:
    """Q08. Whoever has a place connects on their own."""
    async with Proxy.before(settings.mysql_url) as proxy:
        two = settings.model_copy(update={"mysql_url": proxy.mysql_url, "mysql_connections": 2})
        async with Database(two) as database:
            holds, free = asyncio.Event(), asyncio.Event()

            async def hold(_: Transaction) -> None:
                holds.set()
                await free.wait()

            first = asyncio.create_task(database.transact(hold, job="test"))
            await holds.wait()
            proxy.gate.clear()
            slow = asyncio.create_task(database.fetch(SESSION_ID, {}))
            await proxy.stalled.wait()
            free.set()
            await first
            third = asyncio.create_task(database.fetch(SESSION_ID, {}))
            done, _ = await asyncio.wait([slow, third], return_when=asyncio.FIRST_COMPLETED)
            assert done == {third}, "not the slow one, which has met its limit of time"
            proxy.gate.set()
            await asyncio.gather(slow, third)


async def test_victims_connection_wrong_the_pool_closes_it(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """Q09. An error packet has no status, so the pool still believes in the transaction that is gone."""
    await open_shop(database, MANY)
    await write_all_but_product_1(session)
    async with open_pool(settings.mysql_url, size=1) as pool:

        async def victim() -> int:
            async with pool.acquire() as connection:
                await query(connection, "BEGIN")
                await take_one(connection, 1)
                assert await code_of(take_one(connection, 2)) == DEADLOCK
                return int(connection.thread_id())

        task = asyncio.create_task(victim())
        await close_the_cycle(session, other_session)
        before = await task
        assert pool.size == 0
        async with pool.acquire() as connection:
            assert connection.thread_id() != before, "a reconnect a deadlock, just when there are many"


async def test_victims_connection_right_it_is_used_again(
    settings: Settings, session: Session, other_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q09. It is rolled back, and the next attempt runs on it."""
    monkeypatch.setattr(connections, "CLEAN_UP_SECONDS", PATIENCE_SECONDS)
    async with Database(one_connection(settings)) as database:
        await open_shop(database, MANY)
        await write_all_but_product_1(session)
        sessions: list[int] = []

        async def work(transaction: Transaction) -> None:
            sessions.append(await session_id(transaction))
            await take_one_each(transaction, 1, 2)

        task = asyncio.create_task(database.transact(work, job="test"))
        await close_the_cycle(session, other_session)
        await task
    assert len(sessions) == 2
    assert len(set(sessions)) == 1
    assert await available(session, 1, 2) == [4, 4]
