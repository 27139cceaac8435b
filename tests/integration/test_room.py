"""What a worker has claimed: no more than there is room for."""

import asyncio
from typing import Any
from uuid import uuid4

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix

from jobs.orders.requests import MAX_ORDERS
from tests.asking import PATIENCE_SECONDS, until
from tests.integration.conftest import QUEUE, MakePool, MakeWorker, functions, running
from tests.integration.job_cases import HEALTH, Jobs, enqueue
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import room, wire
from worker.queue.batch_size import MOST
from worker.settings import Settings


async def test_it_claims_as_many_jobs_as_there_is_room_for_and_no_more(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    jobs = Jobs()
    worker = make_worker(database, pool=make_pool(jobs=7), functions=functions(restock=jobs.run))
    await enqueue(redis, [str(number) for number in range(50)])
    run = asyncio.create_task(worker.main())

    async def full() -> bool:
        return jobs.ran >= 7

    await until(full, "the first jobs to run")
    assert len(await redis.keys(in_progress_key_prefix + "*")) == 7
    jobs.go.set()
    await run
    assert (jobs.most_jobs, jobs.ran) == (7, 50)
    assert worker.job_counter == 0


async def test_it_claims_a_few_bytes_and_a_job_that_is_larger_runs_too(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    jobs, pool = Jobs(), make_pool()
    pool.room.batch.now = MOST
    worker = make_worker(database, pool=pool, functions=functions(place_orders=jobs.run))
    sizes = [room.MAX_BYTES // 4 - 200] * 9 + [room.MAX_BYTES * 2] + [10] * 20
    await wire.enqueue(
        redis,
        [wire.Message(wire.PLACE_ORDERS, f"{n:02}", ["x" * size]) for n, size in enumerate(sizes)],
    )
    run = asyncio.create_task(worker.main())

    async def full() -> bool:
        return jobs.ran >= 3

    await until(full, "the first jobs to run")
    jobs.go.set()
    await run
    assert jobs.ran == len(sizes)
    assert jobs.most_bytes < room.MAX_BYTES + jobs.largest
    assert jobs.most_jobs < 30


async def test_a_full_worker_with_many_jobs_behind_goes_on_to_say_that_it_lives(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    jobs = Jobs()
    worker = make_worker(
        database,
        pool=make_pool(jobs=2),
        functions=functions(restock=jobs.run),
        burst=False,
        health_check_interval=0,
    )
    await enqueue(redis, [str(number) for number in range(20)])
    async with running(worker):

        async def full() -> bool:
            return jobs.ran == 2

        await until(full, "the worker to be full")
        for _ in range(2):
            await redis.delete(HEALTH)
            await until(lambda: redis.exists(HEALTH), "a sign of life")
        jobs.go.set()


async def test_a_steady_stream_of_jobs_does_not_keep_it_from_saying_that_it_lives(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    """Room comes again and again, one job at a time: after each claim it says so."""
    jobs = Jobs()
    jobs.go.set()
    worker = make_worker(
        database, pool=make_pool(jobs=1), functions=functions(restock=jobs.run), health_check_interval=0
    )
    await enqueue(redis, [str(number) for number in range(20)])
    await redis.config_resetstat()
    await worker.main()
    assert (jobs.ran, jobs.most_jobs) == (20, 1)
    assert (await redis.info("commandstats"))["cmdstat_psetex"]["calls"] >= 20


async def test_told_to_stop_it_finishes_what_it_runs_and_claims_no_more(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    jobs = Jobs()
    worker = make_worker(database, pool=make_pool(jobs=2), functions=functions(restock=jobs.run), burst=False)
    await enqueue(redis, [str(number) for number in range(6)])
    async with running(worker):

        async def full() -> bool:
            return jobs.ran == 2

        await until(full, "the worker to be full")
        worker.allow_pick_jobs = False  # what SIGTERM does first
        jobs.go.set()
        await worker._sleep_until_tasks_complete()  # and then
        assert await redis.zcard(QUEUE) == 4
    assert jobs.ran == 2


async def test_many_orders_of_the_same_page_share_transactions(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker, settings: Settings
) -> None:
    await open_shop(database, {1: MAX_ORDERS})
    pool = make_pool()
    pool.room.batch.now = MOST
    orders = [an_order({1: 1}, order_id=uuid4()) for _ in range(200)]
    transactions = 0
    transact = database.transact

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal transactions
        transactions += 1
        return await transact(*args, **options)

    database.transact = counted  # type: ignore[method-assign]  # counts what the worker does
    async with OrderClient.connect(settings.redis_url) as client:
        receipts = [receipt async for receipt in client.place_many(orders, chunk=1)]
        await make_worker(database, pool=pool).main()
        assert {(await receipt.outcome(timeout=PATIENCE_SECONDS)).status for receipt in receipts} == {
            "placed"
        }
    assert transactions <= 2
