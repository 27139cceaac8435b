"""A job that has not begun goes back to the queue as it was: a job that waits for too long, and those of a worker that stops."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.worker import Worker

from jobs.orders.requests import CancelOrder, PlaceOrder, Restock, ShipOrder
from tests.asking import PATIENCE_SECONDS, Session, until, until_waiting
from tests.integration.conftest import QUEUE, MakeWorker, functions, running
from tests.integration.job_cases import Jobs, enqueue, result_of
from tests.integration.patience import NEVER
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import turns, wire
from worker.queue.turns import RedisTurns
from worker.settings import Settings

A_MOMENT = 0.05  # of a job that gets no turn, or no connection, before the test says so


@pytest.fixture
async def another_workers_turn(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncExitStack]:
    """It is left by closing the stack, at the end of the test at the latest."""
    monkeypatch.setattr(turns, "TURN_SECONDS", NEVER)
    monkeypatch.setattr(turns, "AT_A_TIME", 1)
    other = RedisTurns(settings.redis_url, QUEUE)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(other.turn())
        yield stack
    await other.close()


async def as_it_was(redis: ArqRedis, job_id: str, score: float | None, tries: bytes | None = b"0") -> None:
    assert await redis.zscore(QUEUE, job_id) == score
    assert await redis.get(retry_key_prefix + job_id) == tries
    assert await redis.exists(job_key_prefix + job_id)
    assert not await redis.exists(in_progress_key_prefix + job_id)


@pytest.mark.parametrize("tries", [0, 3])
async def test_an_order_that_is_in_no_batch_in_time_is_given_back_and_placed_later(
    tries: int,
    redis: ArqRedis,
    database: Database,
    session: Session,
    client: OrderClient,
    make_worker: MakeWorker,
    another_workers_turn: AsyncExitStack,
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    job_id = str(order.order_id)
    receipt = await client.place(order)
    score = await redis.zscore(QUEUE, job_id)
    await redis.set(retry_key_prefix + job_id, tries)
    worker = make_worker(database, job_seconds=A_MOMENT, max_burst_jobs=1)
    with structlog.testing.capture_logs() as logs:
        await worker.main()
    await as_it_was(redis, job_id, score, str(tries).encode())
    (line,) = [log for log in logs if log["event"] == "given back"]
    assert line["job_id"] == job_id
    assert not [log for log in logs if log["event"] == "deferred"]
    assert (worker.jobs_retried, worker.jobs_complete) == (1, 0)
    await another_workers_turn.aclose()
    assert await session.value("SELECT COUNT(*) FROM orders") == 0
    await make_worker(database).main()
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert (await result_of(redis, job_id))["t"] == tries + 1
    assert not await broken_invariants(database)


async def test_a_bulk_job_that_is_in_no_batch_in_time_is_given_back_as_a_whole(
    redis: ArqRedis,
    database: Database,
    session: Session,
    make_worker: MakeWorker,
    another_workers_turn: AsyncExitStack,
) -> None:
    await open_shop(database, {1: 1000})
    orders = [an_order({1: 1}).model_dump(mode="json") for _ in range(250)]
    await wire.enqueue(redis, [wire.Message(wire.PLACE_ORDERS, "bulk", orders)])
    score = await redis.zscore(QUEUE, "bulk")
    await make_worker(database, job_seconds=A_MOMENT, max_burst_jobs=1).main()
    await as_it_was(redis, "bulk", score)
    await another_workers_turn.aclose()
    assert await session.value("SELECT COUNT(*) FROM orders") == 0
    await make_worker(database).main()
    assert [outcome["status"] for outcome in (await result_of(redis, "bulk"))["r"]] == ["placed"] * 250


async def take_all_connections_of_jobs(database: Database) -> None:
    while not database.one_of_many.locked():
        await database.one_of_many.acquire()


REQUESTS = {
    wire.CANCEL_ORDER: CancelOrder(order_id=uuid4()),
    wire.SHIP_ORDER: ShipOrder(order_id=uuid4()),
    wire.RESTOCK: Restock(restock_id=uuid4(), product_id=1, quantity=1),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_job_that_has_no_connection_in_time_is_given_back(
    name: str, redis: ArqRedis, settings: Settings, database: Database, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    request = REQUESTS[name].model_dump(mode="json")
    await wire.enqueue(redis, [wire.Message(name, "job", request)])
    score = await redis.zscore(QUEUE, "job")
    async with Database(settings) as busy:
        await take_all_connections_of_jobs(busy)
        with structlog.testing.capture_logs() as logs:
            await make_worker(busy, job_seconds=A_MOMENT, max_burst_jobs=1).main()
    await as_it_was(redis, "job", score)
    assert [log["job"] for log in logs if log["event"] == "given back"] == [name]
    await make_worker(database).main()
    assert (await result_of(redis, "job"))["r"]["status"] in {"not_found", "restocked"}


async def test_an_order_whose_batch_has_begun_has_its_outcome_however_long_that_takes(
    redis: ArqRedis,
    database: Database,
    client: OrderClient,
    session: Session,
    other_session: Session,
    make_worker: MakeWorker,
) -> None:
    """It waits for a row; one that comes behind it, and waits for as long, is given back meanwhile."""
    await open_shop(database, {1: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    receipt = await client.place(an_order({1: 1}))
    worker = make_worker(database, job_seconds=A_MOMENT, burst=False)

    async def given_back() -> bool:
        return worker.jobs_retried > 0

    async with running(worker):
        await until_waiting(other_session, 1)
        late = await client.place(an_order({1: 1}))
        await until(given_back, "the order behind it to be given back")
        await session.run("COMMIT")
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
        assert (await late.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert (await result_of(redis, receipt.message.job_id))["t"] == 1


async def stopped(worker: Worker, main: asyncio.Task[None]) -> None:
    """As arq does it at last."""
    jobs = list(worker.tasks.values())
    worker.handle_sig(signal.SIGTERM)
    await asyncio.wait([main, *jobs])
    await worker.pool.aclose(close_connection_pool=True)


async def test_told_to_stop_a_worker_gives_back_what_it_has_claimed_and_not_begun(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    jobs = Jobs()
    job_ids = [str(number) for number in range(10)]
    await enqueue(redis, job_ids)
    scores = {job_id: await redis.zscore(QUEUE, job_id) for job_id in job_ids}
    worker = make_worker(
        database, functions=functions(restock=jobs.run), burst=False, max_jobs=2, queue_read_limit=10
    )

    async def full() -> bool:
        return jobs.ran == 2

    main = asyncio.create_task(worker.async_run())
    await until(full, "the worker to be full")
    assert len(await redis.keys(in_progress_key_prefix + "*")) == 10
    worker.allow_pick_jobs = False  # what SIGTERM does first
    jobs.go.set()
    await worker._sleep_until_tasks_complete()  # and then
    await stopped(worker, main)
    left = [job_id.decode() for job_id in await redis.zrange(QUEUE, 0, -1)]
    assert len(left) == 8
    for job_id in left:
        await as_it_was(redis, job_id, scores[job_id])
    assert not await redis.keys(in_progress_key_prefix + "*")


async def test_told_to_stop_a_worker_gives_back_orders_that_wait_for_their_batch(
    redis: ArqRedis,
    database: Database,
    session: Session,
    client: OrderClient,
    make_worker: MakeWorker,
    another_workers_turn: AsyncExitStack,
) -> None:
    """Its time for them is over; they are another worker's at once, and this was no try."""
    await open_shop(database, {1: 5})
    orders: list[PlaceOrder] = [an_order({1: 1}) for _ in range(3)]
    for order in orders:
        await client.place(order)
    scores = [await redis.zscore(QUEUE, str(order.order_id)) for order in orders]
    worker = make_worker(database, burst=False)

    async def all_run() -> bool:
        return len(worker.job_tasks) == 3

    main = asyncio.create_task(worker.async_run())
    await until(all_run, "the jobs to wait for their batch")
    await stopped(worker, main)
    for order, score in zip(orders, scores, strict=True):
        await as_it_was(redis, str(order.order_id), score)
    await another_workers_turn.aclose()
    assert await session.value("SELECT COUNT(*) FROM orders") == 0


async def test_told_to_stop_at_once_a_worker_ends_the_batch_that_has_begun_and_no_outcome_is_lost(
    redis: ArqRedis,
    database: Database,
    client: OrderClient,
    session: Session,
    other_session: Session,
    make_worker: MakeWorker,
) -> None:
    """Its time to stop is over, and arq cancels what runs: before Python 3.12 it leaves the job to the next worker."""
    await open_shop(database, {1: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    receipt = await client.place(an_order({1: 1}))
    worker = make_worker(database, burst=False)
    main = asyncio.create_task(worker.async_run())
    await until_waiting(other_session, 1)
    stopping = asyncio.create_task(stopped(worker, main))
    await asyncio.wait([main])
    await session.run("COMMIT")
    await asyncio.wait_for(stopping, PATIENCE_SECONDS)
    assert await session.value("SELECT available FROM stock") == 4
    await make_worker(database).main()
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await session.value("SELECT available FROM stock") == 4
    assert await redis.zcard(QUEUE) == 0
    assert not await broken_invariants(database)
