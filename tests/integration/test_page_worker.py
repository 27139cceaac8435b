"""`lockstep worker`'s own worker leaves in Redis what arq's does."""

import asyncio
from typing import Any, Final, cast

import pytest
from arq.connections import ArqRedis
from arq.constants import (
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)
from arq.utils import timestamp_ms
from arq.worker import Worker

from tests.integration.conftest import MakeWorker, Run, functions
from tests.integration.page_cases import (
    HEALTH,
    KINDS,
    QUEUE,
    again,
    again_later,
    both_kinds,
    done,
    enqueue,
    failing,
    job,
    run_job,
)
from tests.integration.patience import NEVER
from worker.database.transactions import Database
from worker.queue import page_worker, wire
from worker.queue.page_worker import PageWorker

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
async def test_it_leaves_the_keys_that_arqs_own_worker_leaves(
    run: Run, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    left = []
    for kind in KINDS:
        await redis.flushdb()
        await enqueue(redis, ["job"], {"some": "request"})
        await run_job(make_worker, database, kind, run, job_timeout=0.2 if run is too_long else NEVER)
        left.append(await all_keys(redis))
    assert left[0] == left[1]
    assert left[0].keys() & {result_key_prefix + "job", job_key_prefix + "job"}, "an end, or another try"


@pytest.mark.parametrize("content", [None, b"not msgpack", b""], ids=["expired", "unreadable", "empty"])
async def test_of_a_message_that_is_none_it_leaves_what_arqs_own_worker_leaves(
    content: bytes | None, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    left = []
    for kind in KINDS:
        await redis.flushdb()
        await enqueue(redis, ["job"])
        await redis.delete(job_key_prefix + "job")
        if content is not None:
            await redis.set(job_key_prefix + "job", content)
        await run_job(make_worker, database, kind, done)
        left.append(await all_keys(redis))
    assert left[0] == left[1]
    assert left[0].keys() == {result_key_prefix + "job", HEALTH, QUEUE + wire.WAKE_SUFFIX}


@both_kinds
async def test_another_try_is_due_when_it_was_asked_for(
    kind: type[Worker], redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await redis.zadd(QUEUE, {"old": timestamp_ms() - 1_000_000})
    await redis.set(job_key_prefix + "old", job(wire.RESTOCK, None))
    before = timestamp_ms()
    await run_job(make_worker, database, kind, again_later)
    score = await redis.zscore(QUEUE, "old")
    assert score is not None
    assert before + 30_000 <= score <= timestamp_ms() + 30_000
    assert await redis.get(retry_key_prefix + "old") == b"1"


@both_kinds
async def test_another_try_at_once_keeps_its_place_in_the_queue(
    kind: type[Worker], redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    due = timestamp_ms() - 1_000
    await redis.zadd(QUEUE, {"old": due})
    await redis.set(job_key_prefix + "old", job(wire.RESTOCK, None))
    await run_job(make_worker, database, kind, again)
    assert await redis.zscore(QUEUE, "old") == due
    assert await redis.exists(job_key_prefix + "old")


async def test_another_try_in_the_millisecond_in_which_a_job_is_due_does_not_end_it(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enqueue(redis, ["job"])
    due = await redis.zscore(QUEUE, "job")
    monkeypatch.setattr(page_worker, "timestamp_ms", lambda: due)
    await run_job(make_worker, database, PageWorker, again)
    assert await redis.zscore(QUEUE, "job") == due
    assert await redis.exists(job_key_prefix + "job")


async def test_a_job_in_hand_is_marked_for_as_long_as_arq_marks_it(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    """job_timeout, and arq's own ten seconds, from a moment between the worker's start and that of the job."""
    moments: list[tuple[int, int]] = []

    async def look(ctx: dict[Any, Any], _request: wire.Payload) -> None:
        asked = timestamp_ms()
        left = await redis.pttl(in_progress_key_prefix + ctx["job_id"])
        moments.append((asked + left - 18_000, timestamp_ms() + left - 18_000))

    for kind in KINDS:
        began = timestamp_ms()
        await enqueue(redis, [f"job {kind.__name__}"])
        await make_worker(database, kind=kind, functions=functions(restock=look), job_timeout=8).main()
        earliest, latest = moments.pop()
        assert began <= latest
        assert earliest <= timestamp_ms()
