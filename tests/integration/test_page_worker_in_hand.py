"""What `lockstep worker`'s own worker has in hand: no more than it may, and ended together."""

import asyncio
from typing import Any
from uuid import uuid4

from arq.connections import ArqRedis
from arq.constants import (
    in_progress_key_prefix,
)

from jobs.orders import MAX_ORDERS
from tests.asking import PATIENCE_SECONDS, until
from tests.integration.conftest import MakeWorker, functions, running
from tests.integration.page_cases import (
    HEALTH,
    QUEUE,
    Hands,
    done,
    enqueue,
)
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import page_worker, wire
from worker.queue.page_worker import IDS_AHEAD, PageWorker
from worker.settings import Settings


async def test_it_has_as_many_jobs_in_hand_as_it_may_and_no_more(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    hands = Hands()
    worker = make_worker(database, kind=PageWorker, functions=functions(restock=hands.run), max_jobs=7)
    await enqueue(redis, [str(number) for number in range(50)])
    run = asyncio.create_task(worker.main())

    async def full() -> bool:
        return hands.ran >= 7

    await until(full, "the first jobs to run")
    assert len(await redis.keys(in_progress_key_prefix + "*")) == 7
    hands.go.set()
    await run
    assert (hands.most_jobs, hands.ran) == (7, 50)
    assert worker.job_counter == 0


async def test_it_has_a_few_bytes_in_hand_and_a_job_that_is_larger_runs_too(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    hands = Hands()
    worker = make_worker(database, kind=PageWorker, functions=functions(place_orders=hands.run), max_jobs=100)
    sizes = [page_worker.MAX_BYTES // 4 - 200] * 9 + [page_worker.MAX_BYTES * 2] + [10] * 20
    await wire.enqueue(
        redis,
        [wire.Message(wire.PLACE_ORDERS, f"{n:02}", ["x" * size]) for n, size in enumerate(sizes)],
    )
    run = asyncio.create_task(worker.main())

    async def full() -> bool:
        return hands.ran >= 4

    await until(full, "the first jobs to run")
    hands.go.set()
    await run
    assert hands.ran == len(sizes)
    assert hands.most_bytes < page_worker.MAX_BYTES + hands.largest
    assert hands.most_jobs < 30


async def test_a_full_worker_with_many_jobs_behind_goes_on_to_say_that_it_lives(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    hands = Hands()
    worker = make_worker(
        database,
        kind=PageWorker,
        functions=functions(restock=hands.run),
        burst=False,
        max_jobs=2,
        health_check_interval=0,
    )
    await enqueue(redis, [str(number) for number in range(20)])
    async with running(worker):

        async def full() -> bool:
            return hands.ran == 2

        await until(full, "the worker to be full")
        for _ in range(2):
            await redis.delete(HEALTH)
            await until(lambda: redis.exists(HEALTH), "a sign of life")
        hands.go.set()


async def test_a_steady_stream_of_jobs_does_not_keep_it_from_saying_that_it_lives(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    """Room comes again and again, so it never stops to claim."""
    signs: list[int] = []

    async def slow(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
        signs.append(await redis.exists(HEALTH))
        await redis.delete(HEALTH)

    worker = make_worker(
        database, kind=PageWorker, functions=functions(restock=slow), max_jobs=1, health_check_interval=0
    )
    await enqueue(redis, [str(number) for number in range(20)])
    await worker.main()
    assert sum(signs) > 10


async def test_told_to_stop_it_finishes_what_it_has_in_hand_and_takes_no_more(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    hands = Hands()
    worker = make_worker(
        database, kind=PageWorker, functions=functions(restock=hands.run), burst=False, max_jobs=2
    )
    await enqueue(redis, [str(number) for number in range(6)])
    async with running(worker):

        async def full() -> bool:
            return hands.ran == 2

        await until(full, "the worker to be full")
        worker.allow_pick_jobs = False  # what SIGTERM does first
        hands.go.set()
        await worker._sleep_until_tasks_complete()  # and then
        assert await redis.zcard(QUEUE) == 4
    assert hands.ran == 2


async def test_what_is_done_in_the_same_moment_is_ended_in_one_round_trip(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    hands = Hands()
    worker = make_worker(database, kind=PageWorker, functions=functions(restock=hands.run), max_jobs=50)
    await enqueue(redis, [str(number) for number in range(50)])
    await redis.config_resetstat()
    run = asyncio.create_task(worker.main())

    async def full() -> bool:
        return hands.ran == 50

    await until(full, "all jobs to run")
    hands.go.set()
    await run
    calls = {
        name: stat["calls"] for name, stat in (await redis.info("commandstats")).items() if "calls" in stat
    }
    assert calls["cmdstat_exec"] == 1
    assert calls["cmdstat_set"] == 100, "a mark and a result of each"


async def test_many_orders_of_the_same_page_share_transactions(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, settings: Settings
) -> None:
    await open_shop(database, {1: MAX_ORDERS})
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
        await make_worker(database, kind=PageWorker, max_jobs=200).main()
        assert {(await receipt.outcome(timeout=PATIENCE_SECONDS)).status for receipt in receipts} == {
            "placed"
        }
    assert transactions <= 2


async def test_with_room_for_one_it_does_not_ask_for_each_id_that_others_have_taken(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    taken = [f"{number:03}" for number in range(2 * IDS_AHEAD)]
    await enqueue(redis, [*taken, "mine"])
    await redis.mset({in_progress_key_prefix + job_id: "1" for job_id in taken})
    worker = make_worker(database, kind=PageWorker, functions=functions(restock=done), max_jobs=1)
    await redis.script_flush()
    await redis.config_resetstat()
    await worker.start_jobs([job_id.encode() for job_id in [*taken, "mine"]])
    await asyncio.gather(*worker.tasks.values())
    assert worker.jobs_complete == 1
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] <= 3, "one to load the script"
