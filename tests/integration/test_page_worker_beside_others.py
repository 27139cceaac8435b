"""Workers of both kinds share one queue, and no job runs twice."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import (
    in_progress_key_prefix,
)
from arq.utils import timestamp_ms
from arq.worker import Worker

from tests.asking import PATIENCE_SECONDS, until
from tests.integration.conftest import MakeWorker, functions, running, until_idle
from tests.integration.page_cases import (
    QUEUE,
    Hands,
    both_kinds,
    done,
    enqueue,
)
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.page_worker import PageWorker
from worker.queue.patient_redis import PatientRedis
from worker.settings import Settings


@both_kinds
async def test_it_takes_what_is_due_and_what_nobody_has_in_hand(
    kind: type[Worker], redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    ran: list[str] = []

    async def note(ctx: dict[Any, Any], _request: wire.Payload) -> None:
        ran.append(ctx["job_id"])

    await enqueue(redis, ["due", "later", "never", "elsewhere"])
    await redis.zadd(QUEUE, {"later": timestamp_ms() + 3_600_000, "never": 0})
    await redis.set(in_progress_key_prefix + "elsewhere", "1")
    async with running(make_worker(database, kind=kind, functions=functions(restock=note), burst=False)):

        async def has_run() -> bool:
            return bool(await redis.zcard(QUEUE) == 3)

        await until(has_run, "the job that is due")
        await enqueue(redis, ["one more"])
        await until(has_run, "another one")
    assert ran == ["due", "one more"]
    assert set(await redis.zrange(QUEUE, 0, -1)) == {b"later", b"never", b"elsewhere"}


async def test_a_job_that_another_worker_takes_meanwhile_is_left_to_it(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    """Ids are read before they are claimed: one is ended, one put off, one in hand by then."""
    ran: list[str] = []

    async def note(ctx: dict[Any, Any], _request: wire.Payload) -> None:
        ran.append(ctx["job_id"])

    worker = make_worker(database, kind=PageWorker, functions=functions(restock=note))
    await enqueue(redis, ["put off", "in hand", "mine"])
    await redis.zadd(QUEUE, {"put off": timestamp_ms() + 3_600_000})
    await redis.set(in_progress_key_prefix + "in hand", "1")
    await worker.start_jobs([b"ended", b"put off", b"in hand", b"mine"])
    await asyncio.gather(*worker.tasks.values())
    assert ran == ["mine"]
    assert {key.decode() for key in await redis.keys(in_progress_key_prefix + "*")} == {
        in_progress_key_prefix + "in hand"
    }


async def test_workers_of_both_kinds_on_one_queue_run_each_job_once(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    runs: Counter[str] = Counter()

    async def count(ctx: dict[Any, Any], _request: wire.Payload) -> None:
        runs[ctx["job_id"]] += 1
        await asyncio.sleep(0)

    job_ids = [str(number) for number in range(400)]
    await enqueue(redis, job_ids)
    workers = [
        make_worker(database, kind=kind, functions=functions(restock=count))
        for kind in (PageWorker, PageWorker, Worker)
    ]
    await asyncio.gather(*(worker.main() for worker in workers))
    assert runs == Counter(job_ids)
    assert await redis.zcard(QUEUE) == 0
    assert not await redis.keys(in_progress_key_prefix + "*")


@pytest.mark.both_isolations
async def test_workers_of_both_kinds_give_each_order_one_outcome(
    database: Database, make_worker: MakeWorker, settings: Settings
) -> None:
    await open_shop(database, {1: 250, 2: 1000})
    orders = [an_order({1: 1, 2: 1}, customer_id=number % 9 + 1) for number in range(300)]
    async with OrderClient.connect(settings.redis_url) as client:
        receipts = [receipt async for receipt in client.place_many(orders, chunk=3)]
        kinds = (PageWorker, PageWorker, Worker)
        await asyncio.gather(*(make_worker(database, kind=kind).main() for kind in kinds))
        outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
    assert Counter(outcome.status for outcome in outcomes) == {"placed": 250, "rejected": 50}
    assert not await broken_invariants(database)


@both_kinds
async def test_behind_a_crowd_of_jobs_that_others_have_in_hand_it_finds_its_own(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    """More of them than it reads ids."""
    crowd = [f"{number:03}" for number in range(250)]
    await enqueue(redis, crowd)
    await redis.mset({in_progress_key_prefix + job_id: "1" for job_id in crowd})
    await enqueue(redis, ["mine", "mine too"])
    runs = functions(restock=done)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await make_worker(
            database, kind=kind, pool=patient, functions=runs, queue_read_limit=100, max_burst_jobs=2
        ).main()
    assert await redis.zcard(QUEUE) == len(crowd)


@both_kinds
@pytest.mark.usefixtures("never_looks")
async def test_a_worker_that_has_all_there_is_in_hand_waits_to_be_woken(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    hands = Hands()
    runs = functions(restock=hands.run)
    await enqueue(redis, ["one", "two"])
    async with running(make_worker(database, kind=kind, pool=patient, functions=runs, burst=False)):
        for count in (2, 3, 4):

            async def all_run(count: int = count) -> bool:
                return hands.ran == count

            await until(all_run, "all jobs to run")
            await until_idle(redis)
            await enqueue(redis, [f"after {count}"])
        hands.go.set()
