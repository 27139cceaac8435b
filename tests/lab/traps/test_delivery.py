"""Traps of at-least-once: a job that is delivered twice, late, or to nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.worker import Function, Worker, func
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.asking import PATIENCE_SECONDS, Session, open_session, until, until_waiting
from tests.conftest import MakeClient
from tests.lab.traps.arq_workers import (
    CrashError,
    bare_queue,
    bare_worker,
    crash,
    forget_the_dead_worker,
    our_worker,
    run_dry,
    working,
)
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue import claims, paged_redis, turns
from worker.queue.paged_redis import PagedRedis
from worker.settings import Settings

TAKE_ONE: Final = "UPDATE stock SET available = available - 1 WHERE product_id = 1"


def taking_one(session: Session) -> Function:
    """A job that takes one from the stock; the statement commits."""

    async def take(ctx: Any) -> None:
        await session.run(TAKE_ONE)

    return func(take, name="take")


async def test_double_delivery_wrong_the_stock_is_taken_twice(
    settings: Settings, database: Database, session: Session
) -> None:
    """R04. A worker dies after its COMMIT and before arq notes it, so the job runs again."""
    await open_shop(database, {1: 5})
    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("take", _job_id="order 1")
        with pytest.raises(CrashError):
            await run_dry(bare_worker(queue, [taking_one(session)], on_job_end=crash))
        await forget_the_dead_worker(queue, "order 1")
        await run_dry(bare_worker(queue, [taking_one(session)]))
    assert await session.value("SELECT available FROM stock") == 3, "one order, two taken"


async def test_double_delivery_right_the_order_has_one_outcome(
    redis: ArqRedis, settings: Settings, database: Database, session: Session, make_client: MakeClient
) -> None:
    """R04. The order's own row is the note, and commits with what it notes."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    receipt = await make_client(100).place(order)
    with pytest.raises(CrashError):
        await run_dry(our_worker(redis, database, settings, on_job_end=crash))
    assert await session.value("SELECT available FROM stock") == 4, "the first delivery has committed"
    await forget_the_dead_worker(redis, str(order.order_id))
    await run_dry(our_worker(redis, database, settings))
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await session.value("SELECT available FROM stock") == 4
    assert not await broken_invariants(database)


async def test_in_progress_shorter_than_the_job_wrong_two_workers_run_it(
    settings: Settings, database: Database, session: Session
) -> None:
    """R05. A job without a time limit is arq's for ten seconds; then another worker takes it as well."""
    await open_shop(database, {1: 5})
    starts: asyncio.Queue[int] = asyncio.Queue()
    go_on = asyncio.Event()

    async def take(ctx: dict[str, Any]) -> None:
        await starts.put(ctx["job_try"])
        await go_on.wait()
        async with open_session(settings.mysql_url) as own:
            await own.run(TAKE_ONE)

    job = [func(take, name="take")]
    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("take", _job_id="order 1")
        first = bare_worker(queue, job, job_timeout=None, max_jobs=1)
        second = bare_worker(queue, job, job_timeout=None)
        async with working(first):
            await starts.get()
            mark = in_progress_key_prefix + "order 1"
            assert await queue.pttl(mark) <= 10_000
            await queue.delete(mark)  # its time is over, and the worker is not dead
            async with working(second):
                await starts.get()
                go_on.set()
                await until(both_done(first, second), "both workers")
    assert await session.value("SELECT available FROM stock") == 3, "one order, two taken"


async def test_in_progress_shorter_than_the_job_right_one_of_the_two_places_the_order(
    redis: ArqRedis,
    settings: Settings,
    database: Database,
    session: Session,
    other_session: Session,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R05. The row locks keep the two apart, and the order has the outcome of the first."""
    monkeypatch.setattr(paged_redis, "RENEW_SECONDS", 10 * PATIENCE_SECONDS)  # as if the first were frozen
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.1)
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    receipt = await make_client(100).place(order)
    first = our_worker(redis, database, settings, max_jobs=1)  # it claims nothing besides
    second = our_worker(redis, database, settings)

    await session.run("BEGIN")
    await session.run("SELECT available FROM stock FOR UPDATE")
    async with working(first):
        await until_waiting(other_session, 1)
        await forget_the_dead_worker(redis, str(order.order_id))
        async with working(second):
            await until_waiting(other_session, 2)
            await session.run("COMMIT")
            await until(both_done(first, second), "both workers to complete the job")
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await session.value("SELECT available FROM stock") == 4
    assert not await broken_invariants(database)


def both_done(*workers: Worker) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return sum(worker.jobs_complete for worker in workers) == 2

    return ask


async def test_crash_recovery_wrong_a_dead_workers_job_waits_for_five_minutes(
    settings: Settings, database: Database, session: Session
) -> None:
    """R06. Whoever dies keeps its jobs for the longest time that any job may take, and ten seconds."""
    await open_shop(database, {1: 5})
    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("take", _job_id="order 1")
        with pytest.raises(CrashError):
            await run_dry(bare_worker(queue, [taking_one(session)], on_job_end=crash))
        since_ms = 1000 * PATIENCE_SECONDS  # the longest that this test may have taken
        assert await queue.pttl(in_progress_key_prefix + "order 1") > 310_000 - since_ms


async def test_crash_recovery_right_it_waits_for_seconds(
    redis: ArqRedis, settings: Settings, database: Database, make_client: MakeClient
) -> None:
    """R06. A job is claimed for a lease, which its worker renews while it runs."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    await make_client(100).place(order)
    production = Settings(mysql_url=settings.mysql_url, redis_url=settings.redis_url)
    worker = our_worker(redis, database, production, on_job_end=crash)
    with pytest.raises(CrashError):
        await run_dry(worker)
    left_ms = await redis.pttl(in_progress_key_prefix + str(order.order_id))
    assert left_ms <= 1000 * claims.LEASE_SECONDS, "or it is over by now"
    assert worker.job_timeout_s > 24 * 3600, "however long a job takes"
    assert 3 * paged_redis.RENEW_SECONDS < claims.LEASE_SECONDS <= 18


async def test_redis_outage_wrong_the_worker_ends(
    settings: Settings, database: Database, session: Session
) -> None:
    """R14. The first error of Redis leaves arq's loop, and nobody takes jobs any more."""
    door = Door(settings.redis_url)
    async with (
        door.stand() as url,
        bare_queue(url) as queue,
        working(bare_worker(queue, [taking_one(session)])) as loop,
    ):
        await door.shut()
        await asyncio.wait([loop], timeout=PATIENCE_SECONDS)
        assert loop.done()
        assert isinstance(loop.exception(), RedisConnectionError)


async def test_redis_outage_right_the_worker_waits_for_it(
    redis: ArqRedis, settings: Settings, database: Database, make_client: MakeClient
) -> None:
    """R14. Every call is tried again for longer than a restart takes."""
    await open_shop(database, {1: 5})
    door = Door(settings.redis_url)
    async with door.stand() as url:
        queue = PagedRedis.at(url, "arq:queue")
        async with working(our_worker(queue, database, settings)) as loop:
            await door.shut()
            await asyncio.wait([loop], timeout=0.3)
            assert not loop.done()
            await door.open()
            receipt = await make_client(100).place(an_order({1: 1}))
            assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
            assert not loop.done()
        await queue.aclose(close_connection_pool=True)
