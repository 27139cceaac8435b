"""A worker leaves in Redis what it would leave with arq's own pool."""

import asyncio
from typing import Any, Final, cast

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.utils import timestamp_ms

from tests.asking import until
from tests.integration.conftest import QUEUE, MakePool, MakeWorker, Run, functions
from tests.integration.job_cases import (
    HEALTH,
    Jobs,
    again,
    again_later,
    done,
    enqueue,
    failing,
    job,
    run_job,
)
from tests.integration.patience import NEVER
from worker.database.transactions import Database
from worker.queue import claims, wire
from worker.queue.paged_redis import PagedRedis

TIMES: Final = {"st", "ft", "et"}


async def all_keys(redis: ArqRedis) -> dict[str, Any]:
    """Type, content and whether it expires of every key, without times."""
    found: dict[str, Any] = {}
    for name in sorted(key.decode() for key in await redis.keys("*")):
        kind = (await redis.type(name)).decode()
        content: Any
        if kind == "zset":
            content = [member for member, _ in await redis.zrange(name, 0, -1, withscores=True)]
        elif name.startswith((job_key_prefix, result_key_prefix)):
            message = wire.deserialize(await redis.get(name))
            content = {field: value for field, value in message.items() if field not in TIMES}
        elif name == HEALTH:
            content = "counts of another moment"
        elif kind == "list":
            content = await cast("Any", redis).lrange(name, 0, -1)  # redis-py's type is of both its clients
        else:
            content = await redis.get(name)
        found[name] = (kind, content, await redis.pttl(name) > 0)
    return found


async def nothing(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    pass


async def not_packable(_ctx: dict[Any, Any], _request: wire.Payload) -> int:
    return 2**70


async def too_long(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    await asyncio.Future()


async def cancelled(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    raise asyncio.CancelledError


ENDS: Final = [done, nothing, not_packable, failing, again_later, again, too_long, cancelled]


@pytest.mark.parametrize("run", ENDS, ids=[run.__name__ for run in ENDS])
async def test_it_leaves_the_keys_that_it_leaves_with_arqs_own_pool(
    run: Run, redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    left = []
    for pool in (redis, make_pool()):
        await redis.flushdb()
        await enqueue(redis, ["job"], {"some": "request"})
        await run_job(make_worker, database, run, pool=pool, job_timeout=0.2 if run is too_long else NEVER)
        left.append(await all_keys(redis))
    assert left[0] == left[1]
    assert left[0].keys() & {result_key_prefix + "job", job_key_prefix + "job"}, "an end, or another try"


@pytest.mark.parametrize("content", [None, b"not msgpack", b""], ids=["expired", "unreadable", "empty"])
async def test_of_a_message_that_is_none_it_leaves_what_it_leaves_with_arqs_own_pool(
    content: bytes | None,
    redis: ArqRedis,
    database: Database,
    make_pool: MakePool,
    make_worker: MakeWorker,
) -> None:
    left = []
    for pool in (redis, make_pool()):
        await redis.flushdb()
        await enqueue(redis, ["job"])
        await redis.delete(job_key_prefix + "job")
        if content is not None:
            await redis.set(job_key_prefix + "job", content)
        await run_job(make_worker, database, done, pool=pool)
        left.append(await all_keys(redis))
    assert left[0] == left[1]
    assert left[0].keys() == {result_key_prefix + "job", HEALTH, QUEUE + wire.WAKE_SUFFIX}


async def test_another_try_is_due_when_it_was_asked_for(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await redis.zadd(QUEUE, {"old": timestamp_ms() - 1_000_000})
    await redis.set(job_key_prefix + "old", job(wire.RESTOCK, None))
    before = timestamp_ms()
    await run_job(make_worker, database, again_later)
    score = await redis.zscore(QUEUE, "old")
    assert score is not None
    assert before + 30_000 <= score <= timestamp_ms() + 30_000
    assert await redis.get(retry_key_prefix + "old") == b"1"


async def test_another_try_at_once_keeps_its_place_in_the_queue(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    due = timestamp_ms() - 1_000
    await redis.zadd(QUEUE, {"old": due})
    await redis.set(job_key_prefix + "old", job(wire.RESTOCK, None))
    await run_job(make_worker, database, again)
    assert await redis.zscore(QUEUE, "old") == due
    assert await redis.exists(job_key_prefix + "old")


async def test_a_job_that_ends_in_the_moment_in_which_others_begin_is_ended_with_its_own_result(
    redis: ArqRedis, database: Database, pool: PagedRedis, make_worker: MakeWorker
) -> None:
    """Pages of ends overlap: some are on their way while others gather."""
    job_ids = [str(number) for number in range(300)]
    await enqueue(redis, job_ids, "asked")
    await make_worker(database, pool=pool, functions=functions(restock=done), queue_read_limit=7).main()
    results = [wire.deserialize(await redis.get(result_key_prefix + job_id)) for job_id in job_ids]
    assert [result["r"] for result in results] == [
        {"tried": 1, "id": job_id, "asked": "asked"} for job_id in job_ids
    ]
    assert {key.decode() for key in await redis.keys("arq:*")} == {
        *(result_key_prefix + job_id for job_id in job_ids),
        HEALTH,
        QUEUE + wire.WAKE_SUFFIX,
    }
    assert (pool.room._held_jobs, pool.room._held_bytes) == (0, 0)


async def test_what_is_done_in_the_same_moment_is_ended_in_one_round_trip(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    jobs = Jobs()
    worker = make_worker(database, functions=functions(restock=jobs.run))
    await enqueue(redis, [str(number) for number in range(50)])
    await redis.config_resetstat()
    run = asyncio.create_task(worker.main())

    async def full() -> bool:
        return jobs.ran == 50

    await until(full, "all jobs to run")
    jobs.go.set()
    await run
    calls = {
        name: stat["calls"] for name, stat in (await redis.info("commandstats")).items() if "calls" in stat
    }
    assert calls["cmdstat_exec"] == 1
    assert calls["cmdstat_set"] == 100, "a mark and a result of each"
    assert calls["cmdstat_zrem"] == 2, "of the queue and of the jobs to abort"


async def test_a_claimed_job_is_marked_for_a_lease(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    """From a moment between the worker's start and that of the job."""
    moments: list[tuple[int, int]] = []
    lease_ms = 1000 * claims.LEASE_SECONDS

    async def look(ctx: dict[Any, Any], _request: wire.Payload) -> None:
        asked = timestamp_ms()
        left = await redis.pttl(in_progress_key_prefix + ctx["job_id"])
        moments.append((asked + left - lease_ms, timestamp_ms() + left - lease_ms))

    began = timestamp_ms()
    await enqueue(redis, ["job"])
    await make_worker(database, functions=functions(restock=look)).main()
    ((earliest, latest),) = moments
    assert began <= latest
    assert earliest <= timestamp_ms()
