"""arq's aborts: a job whose transaction has begun has its outcome, and one that has not begun leaves no trace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss, in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.jobs import Job
from arq.worker import Worker

from jobs.orders.requests import CancelOrder, Restock, ShipOrder
from tests.asking import PATIENCE_SECONDS, Session, until, until_waiting
from tests.integration.conftest import QUEUE, MakePool, MakeWorker, running
from tests.integration.job_cases import result_of
from tests.integration.test_given_back import another_workers_turn, take_all_connections_of_jobs
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue import wire
from worker.settings import Settings

__all__ = ["another_workers_turn"]


async def abort(redis: ArqRedis, job_id: str) -> None:
    """Whether it was aborted, its result says."""
    job = Job(job_id, redis, _deserializer=wire.deserialize)
    await asyncio.gather(job.abort(timeout=PATIENCE_SECONDS, poll_delay=0.01), return_exceptions=True)


@asynccontextmanager
async def aborting(redis: ArqRedis, worker: Worker, job_id: str) -> AsyncIterator[None]:
    """The block runs when the worker has cancelled the job, and its end waits for the result."""

    async def cancelled() -> bool:
        return job_id in worker.aborting_tasks

    asked = asyncio.create_task(abort(redis, job_id))
    await until(cancelled, "the worker to cancel the job")
    yield
    await asked


async def assert_gone(redis: ArqRedis, job_id: str) -> None:
    keys = [prefix + job_id for prefix in (in_progress_key_prefix, job_key_prefix, retry_key_prefix)]
    assert not await redis.exists(*keys)
    assert await redis.zcard(QUEUE) == 0
    assert await redis.zcard(abort_jobs_ss) == 0


async def assert_aborted(redis: ArqRedis, job_id: str) -> None:
    result = await result_of(redis, job_id)
    assert (result["s"], result["r"]) == (False, "")
    await assert_gone(redis, job_id)


async def test_an_order_whose_batch_has_begun_has_the_outcome_of_the_batch(
    redis: ArqRedis, database: Database, session: Session, other_session: Session, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    job_id = str(order.order_id)
    await wire.enqueue(redis, [wire.placing(order)])
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    worker = make_worker(database, burst=False, allow_abort_jobs=True)
    async with running(worker):
        await until_waiting(other_session, 1)
        async with aborting(redis, worker, job_id):
            await session.run("COMMIT")
    result = await result_of(redis, job_id)
    assert (result["s"], result["r"]["status"]) == (True, "placed")
    await assert_gone(redis, job_id)
    assert await session.value("SELECT available FROM stock") == 4
    assert not await broken_invariants(database)


async def test_an_order_whose_batch_has_not_begun_is_aborted_and_leaves_no_trace(
    redis: ArqRedis,
    database: Database,
    session: Session,
    make_worker: MakeWorker,
    another_workers_turn: AsyncExitStack,
) -> None:
    await open_shop(database, {1: 5})
    order, other = an_order({1: 1}), an_order({1: 1})
    await wire.enqueue(redis, [wire.placing(order), wire.placing(other)])
    worker = make_worker(database, burst=False, allow_abort_jobs=True)

    async def both_wait() -> bool:
        return len(worker.job_tasks) == 2

    async with running(worker):
        await until(both_wait, "the jobs to wait for their batch")
        await abort(redis, str(order.order_id))
        await another_workers_turn.aclose()

        async def other_is_done() -> bool:
            return worker.jobs_complete == 1

        await until(other_is_done, "the other order")
    await assert_aborted(redis, str(order.order_id))
    assert await session.value("SELECT HEX(order_id) FROM orders") == other.order_id.hex.upper()
    assert await session.value("SELECT available FROM stock") == 4
    assert not await broken_invariants(database)


async def test_a_bulk_job_of_which_a_share_has_begun_has_all_its_outcomes(
    redis: ArqRedis,
    database: Database,
    session: Session,
    other_session: Session,
    make_pool: MakePool,
    make_worker: MakeWorker,
) -> None:
    """In batches of 60: the second has not begun when the job is aborted."""
    await open_shop(database, {1: 1000})
    orders = [an_order({1: 1}).model_dump(mode="json") for _ in range(250)]
    await wire.enqueue(redis, [wire.Message(wire.PLACE_ORDERS, "bulk", orders)])
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    pool = make_pool()
    pool.room.batch.shrink()
    worker = make_worker(database, pool=pool, burst=False, allow_abort_jobs=True)
    async with running(worker):
        await until_waiting(other_session, 1)
        async with aborting(redis, worker, "bulk"):
            await session.run("COMMIT")
    result = await result_of(redis, "bulk")
    assert [outcome["status"] for outcome in result["r"]] == ["placed"] * 250
    await assert_gone(redis, "bulk")
    assert await session.value("SELECT COUNT(*) FROM orders") == 250
    assert not await broken_invariants(database)


async def test_a_bulk_job_of_which_no_share_has_begun_is_aborted_as_a_whole(
    redis: ArqRedis,
    database: Database,
    session: Session,
    make_worker: MakeWorker,
    another_workers_turn: AsyncExitStack,
) -> None:
    await open_shop(database, {1: 1000})
    orders = [an_order({1: 1}).model_dump(mode="json") for _ in range(250)]
    await wire.enqueue(redis, [wire.Message(wire.PLACE_ORDERS, "bulk", orders)])
    worker = make_worker(database, burst=False, allow_abort_jobs=True)

    async def waits() -> bool:
        return len(worker.job_tasks) == 1

    async with running(worker):
        await until(waits, "the job to wait for its batch")
        await abort(redis, "bulk")
        await another_workers_turn.aclose()
    await worker.ctx["group_commit"].close()
    await assert_aborted(redis, "bulk")
    assert await session.value("SELECT COUNT(*) FROM orders") == 0


async def placed_order(redis: ArqRedis, database: Database, make_worker: MakeWorker) -> Any:
    order = an_order({1: 1})
    await wire.enqueue(redis, [wire.placing(order)])
    await make_worker(database).main()
    return order.order_id


@pytest.mark.parametrize(
    ("name", "status"),
    [(wire.CANCEL_ORDER, "cancelled"), (wire.SHIP_ORDER, "shipped"), (wire.RESTOCK, "restocked")],
)
async def test_a_job_whose_own_transaction_has_begun_has_its_outcome(
    name: str,
    status: str,
    redis: ArqRedis,
    database: Database,
    session: Session,
    other_session: Session,
    make_worker: MakeWorker,
) -> None:
    await open_shop(database, {1: 5})
    order_id = await placed_order(redis, database, make_worker)
    request = {
        wire.CANCEL_ORDER: CancelOrder(order_id=order_id),
        wire.SHIP_ORDER: ShipOrder(order_id=order_id),
        wire.RESTOCK: Restock(restock_id=uuid4(), product_id=1, quantity=1),
    }[name]
    await wire.enqueue(redis, [wire.Message(name, "job", request.model_dump(mode="json"))])
    await session.run("BEGIN")
    await session.run("SELECT * FROM customers FOR UPDATE")
    await session.run("SELECT * FROM stock FOR UPDATE")
    await session.run("SELECT * FROM orders FOR UPDATE")
    worker = make_worker(database, burst=False, allow_abort_jobs=True)
    async with running(worker):
        await until_waiting(other_session, 1)
        async with aborting(redis, worker, "job"):
            await session.run("COMMIT")
    result = await result_of(redis, "job")
    assert (result["s"], result["r"]["status"]) == (True, status)
    await assert_gone(redis, "job")
    assert not await broken_invariants(database)


@pytest.mark.parametrize("name", [wire.CANCEL_ORDER, wire.SHIP_ORDER, wire.RESTOCK])
async def test_a_job_whose_own_transaction_has_not_begun_is_aborted_and_leaves_no_trace(
    name: str,
    redis: ArqRedis,
    settings: Settings,
    database: Database,
    session: Session,
    make_worker: MakeWorker,
) -> None:
    await open_shop(database, {1: 5})
    order_id = await placed_order(redis, database, make_worker)
    request = {
        wire.CANCEL_ORDER: CancelOrder(order_id=order_id),
        wire.SHIP_ORDER: ShipOrder(order_id=order_id),
        wire.RESTOCK: Restock(restock_id=uuid4(), product_id=1, quantity=1),
    }[name]
    restocks = await session.value("SELECT COUNT(*) FROM restocks")
    await wire.enqueue(redis, [wire.Message(name, "job", request.model_dump(mode="json"))])
    async with Database(settings) as busy:
        await take_all_connections_of_jobs(busy)
        worker = make_worker(busy, burst=False, allow_abort_jobs=True)

        async def waits() -> bool:
            return len(worker.job_tasks) == 1

        async with running(worker):
            await until(waits, "the job to wait for a connection")
            await abort(redis, "job")
    await assert_aborted(redis, "job")
    assert await session.value("SELECT status FROM orders") == "placed"
    assert await session.value("SELECT available FROM stock") == 4
    assert await session.value("SELECT COUNT(*) FROM restocks") == restocks
