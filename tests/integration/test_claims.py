"""Workers claim different jobs of one queue, and run each once."""

import asyncio
import os
from collections import Counter
from socket import gethostname
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.utils import timestamp_ms

from tests.asking import PATIENCE_SECONDS, until
from tests.integration.conftest import QUEUE, MakePool, MakeWorker, functions, running, until_idle
from tests.integration.job_cases import Jobs, done, enqueue, job
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.claims import Claimed, claim, claimed_by, give_back, renew
from worker.queue.paged_redis import PagedRedis
from worker.settings import Settings

CROWD = 1200  # more than a page of ids, twice


async def claim_now(redis: ArqRedis, jobs: int = 100, size: int = 100_000) -> list[Claimed]:
    return await claim(redis, QUEUE, due_ms=timestamp_ms(), jobs=jobs, size=size)


def ids(jobs: list[Claimed]) -> list[str]:
    return [job.name for job in jobs]


async def test_it_takes_what_is_due_and_what_no_other_worker_has(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    ran: list[str] = []

    async def note(ctx: dict[Any, Any], _request: wire.Payload) -> None:
        ran.append(ctx["job_id"])

    await enqueue(redis, ["due", "later", "never", "elsewhere"])
    await redis.zadd(QUEUE, {"later": timestamp_ms() + 3_600_000, "never": 0})
    await redis.set(in_progress_key_prefix + "elsewhere", "1")
    async with running(make_worker(database, functions=functions(restock=note), burst=False)):

        async def has_run() -> bool:
            return bool(await redis.zcard(QUEUE) == 3)

        await until(has_run, "the job that is due")
        await enqueue(redis, ["one more"])
        await until(has_run, "another one")
    assert ran == ["due", "one more"]
    assert set(await redis.zrange(QUEUE, 0, -1)) == {b"later", b"never", b"elsewhere"}


async def test_a_job_that_another_worker_has_claimed_ended_or_deferred_is_left_to_it(redis: ArqRedis) -> None:
    await enqueue(redis, ["ended", "deferred", "claimed", "mine", "mine too"])
    assert ids(await claim_now(redis, jobs=3)) == ["claimed", "deferred", "ended"]
    await redis.delete(in_progress_key_prefix + "ended", in_progress_key_prefix + "deferred")
    await redis.zrem(QUEUE, "ended")
    await redis.zadd(QUEUE, {"deferred": timestamp_ms() + 3_600_000})
    assert ids(await claim_now(redis)) == ["mine", "mine too"]
    assert ids(await claim_now(redis)) == []


async def test_a_claim_is_of_the_first_jobs_and_has_their_contents_scores_and_tries(redis: ArqRedis) -> None:
    due = timestamp_ms() - 1000
    content = job(wire.RESTOCK, "request")
    for number, job_id in enumerate(["a", "b", "c"]):
        await redis.zadd(QUEUE, {job_id: due + number})
        await redis.set(job_key_prefix + job_id, content)
    await redis.set(retry_key_prefix + "b", 6)
    await redis.delete(job_key_prefix + "c")
    first, second, third = await claim_now(redis)
    assert first[:4] == (b"a", due, content, 1)
    assert second[:4] == (b"b", due + 1, content, 7)
    assert third[:4] == (b"c", due + 2, None, 1)
    assert first.claim == second.claim == third.claim
    assert [job.size for job in (first, second, third)] == [len(content), len(content), 0]


async def test_a_claim_ends_with_the_job_that_fills_its_bytes(redis: ArqRedis) -> None:
    await enqueue(redis, [str(number) for number in range(9)], "x" * 1000)
    assert len(await claim_now(redis, size=2500)) == 3
    assert len(await claim_now(redis, size=1)) == 1, "one that is larger than there is room for"
    assert len(await claim_now(redis, size=0)) == 0
    assert len(await claim_now(redis, jobs=2)) == 2


async def test_who_has_a_job_renews_and_gives_back_no_other_claim(redis: ArqRedis) -> None:
    """As a worker that was frozen for longer than its leases hold."""
    await enqueue(redis, ["job", "own"])
    frozen = await claim_now(redis)
    await redis.delete(in_progress_key_prefix + "job")
    (other,) = await claim_now(redis)
    await renew(redis, QUEUE, frozen)
    await give_back(redis, frozen)
    assert await redis.get(in_progress_key_prefix + "job") == other.claim.encode()
    assert await redis.get(retry_key_prefix + "job") == b"2"
    assert not await redis.exists(in_progress_key_prefix + "own")
    assert await redis.get(retry_key_prefix + "own") == b"0"


async def test_claims_name_the_process_that_has_the_jobs(redis: ArqRedis) -> None:
    assert await claimed_by(redis, os.getpid()) == set()
    await enqueue(redis, ["first", "second", "third"])
    await claim_now(redis, jobs=2)
    own = f"{gethostname()}:{os.getpid()}"
    await redis.mset(
        {
            in_progress_key_prefix + "longer": f"{own}0:x",
            in_progress_key_prefix + "elsewhere": f"another.{own}:x",
            in_progress_key_prefix + "arq's": "1",
        }
    )
    assert await claimed_by(redis, os.getpid()) == {"first", "second"}
    assert await claimed_by(redis, 10 * os.getpid()) == {"longer"}


async def test_workers_on_one_queue_run_each_job_once(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    """One of them with arq's own pool: the keys are arq's."""
    runs: Counter[str] = Counter()

    async def count(ctx: dict[Any, Any], _request: wire.Payload) -> None:
        runs[ctx["job_id"]] += 1
        await asyncio.sleep(0)

    job_ids = [str(number) for number in range(400)]
    await enqueue(redis, job_ids)
    workers = [
        make_worker(database, pool=pool, functions=functions(restock=count), queue_read_limit=20)
        for pool in (None, None, redis)
    ]
    await asyncio.gather(*(worker.main() for worker in workers))
    assert runs == Counter(job_ids)
    assert await redis.zcard(QUEUE) == 0
    assert not await redis.keys(in_progress_key_prefix + "*")


@pytest.mark.both_isolations
async def test_workers_on_one_queue_give_each_order_one_outcome(
    database: Database, redis: ArqRedis, make_worker: MakeWorker, settings: Settings
) -> None:
    await open_shop(database, {1: 250, 2: 1000})
    orders = [an_order({1: 1, 2: 1}, customer_id=number % 9 + 1) for number in range(300)]
    async with OrderClient.connect(settings.redis_url) as client:
        receipts = [receipt async for receipt in client.place_many(orders, chunk=3)]
        workers = [make_worker(database, queue_read_limit=20) for _ in range(3)]
        await asyncio.gather(*(worker.main() for worker in workers))
        outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
    assert Counter(outcome.status for outcome in outcomes) == {"placed": 250, "rejected": 50}
    assert not await broken_invariants(database)


async def test_behind_a_crowd_of_jobs_that_others_have_it_finds_its_own(
    redis: ArqRedis, pool: PagedRedis, database: Database, make_worker: MakeWorker
) -> None:
    """More of them than are read at a time, and no question for each."""
    crowd = [f"{number:04}" for number in range(CROWD)]
    await enqueue(redis, crowd)
    await redis.mset({in_progress_key_prefix + job_id: "1" for job_id in crowd})
    await enqueue(redis, ["mine", "mine too"])
    await redis.script_flush()
    await redis.config_resetstat()
    runs = functions(restock=done)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await make_worker(database, pool=pool, functions=runs, queue_read_limit=100, max_burst_jobs=2).main()
    assert await redis.zcard(QUEUE) == len(crowd)
    calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls <= 2, "the second with the script, which Redis did not know"


@pytest.mark.usefixtures("never_looks")
async def test_a_worker_that_has_claimed_all_there_is_waits_to_be_woken(
    redis: ArqRedis, pool: PagedRedis, database: Database, make_worker: MakeWorker
) -> None:
    jobs = Jobs()
    runs = functions(restock=jobs.run)
    await enqueue(redis, ["one", "two"])
    async with running(make_worker(database, pool=pool, functions=runs, burst=False)):
        for count in (2, 3, 4):

            async def all_run(count: int = count) -> bool:
                return jobs.ran == count

            await until(all_run, "all jobs to run")
            await until_idle(redis)
            await enqueue(redis, [f"after {count}"])
        jobs.go.set()


async def test_a_worker_claims_no_job_before_it_has_started_those_that_it_has(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    """As with a `max_jobs` that is smaller than the room of the pool."""
    jobs = Jobs()
    await enqueue(redis, [f"{number:02}" for number in range(20)])
    worker = make_worker(
        database, pool=make_pool(), functions=functions(restock=jobs.run), max_jobs=2, queue_read_limit=5
    )
    run = asyncio.create_task(worker.main())

    async def full() -> bool:
        return jobs.ran == 2

    await until(full, "the worker to be full")
    assert len(await redis.keys(in_progress_key_prefix + "*")) == 5
    jobs.go.set()
    await run
    assert (jobs.ran, jobs.most_jobs) == (20, 2)
