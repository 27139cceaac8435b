"""What goes wrong with one job costs no other, and what goes wrong with a claim costs no time."""

import asyncio
from typing import Any, Final, cast

import pytest
import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.utils import timestamp_ms
from arq.worker import Retry
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.asking import PATIENCE_SECONDS, until
from tests.integration.conftest import QUEUE, MakeWorker, functions
from tests.integration.job_cases import (
    Jobs,
    again_later,
    done,
    enqueue,
    failing,
    job,
    result_of,
    run_job,
)
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.paged_redis import PagedRedis

JOB: Final = "job"


async def run_all(make_worker: MakeWorker, database: Database) -> list[Any]:
    """Run the queue dry; the errors that were logged."""
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await make_worker(database, functions=functions(restock=done)).main()
    return [log for log in logs if log["log_level"] == "error"]


async def test_a_bug_of_a_function_is_logged_with_its_job(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    await enqueue(redis, [JOB])
    await run_job(make_worker, database, failing)
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert f"{JOB}:{wire.RESTOCK} failed" in line.getMessage()
    assert line.exc_info


async def test_a_job_of_a_wrong_type_fails_alone(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await enqueue(redis, ["before", "bad", "after"])
    await redis.delete(job_key_prefix + "bad")
    await cast("Any", redis).rpush(job_key_prefix + "bad", "no", "job")
    (error,) = await run_all(make_worker, database)
    assert error["job_id"] == "bad"
    bad = await result_of(redis, "bad")
    assert (bad["s"], bad["t"]) == (False, 1)
    assert "wrong kind of value" in bad["r"]
    assert all([(await result_of(redis, job_id))["s"] for job_id in ("before", "after")])
    assert {key.decode() for key in await redis.keys("arq:*")} == {
        *(result_key_prefix + job_id for job_id in ("before", "bad", "after")),
        QUEUE + ":health-check",
        QUEUE + wire.WAKE_SUFFIX,
    }


@pytest.mark.parametrize("tries", [["no", "number"], "no number", str(2**63 - 1)])
async def test_a_job_whose_tries_cannot_be_counted_runs_as_if_it_had_none(
    tries: list[str] | str, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await enqueue(redis, ["before", "bad", "after"])
    if isinstance(tries, list):
        await cast("Any", redis).rpush(retry_key_prefix + "bad", *tries)
    else:
        await redis.set(retry_key_prefix + "bad", tries)
    (error,) = await run_all(make_worker, database)
    assert error["key"] == retry_key_prefix + "bad"
    for job_id in ("before", "bad", "after"):
        result = await result_of(redis, job_id)
        assert (result["s"], result["t"]) == (True, 1)
    assert not await redis.exists(retry_key_prefix + "bad")


async def test_a_job_id_that_is_no_text_fails_alone(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    strange = b"\xff\xfe"
    await enqueue(redis, ["before", "after"])
    await redis.zadd(QUEUE, {strange: 1})
    await redis.set(job_key_prefix.encode() + strange, job(wire.RESTOCK, None))
    (error,) = await run_all(make_worker, database)
    assert error["job_id"] == r"\xff\xfe"
    assert not (await result_of(redis, strange))["s"]
    assert all([(await result_of(redis, job_id))["s"] for job_id in ("before", "after")])
    assert not await redis.exists(job_key_prefix.encode() + strange, retry_key_prefix.encode() + strange)


class Answer:
    """Holds back what Redis answers to the first claim, or loses it."""

    def __init__(self, pool: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came, self.go = asyncio.Event(), asyncio.Event()
        self.lost = False
        parse = pool.parse_response

        async def parsed(connection: Any, command_name: str, **options: Any) -> Any:
            answer = await parse(connection, command_name, **options)
            is_claim = isinstance(answer, list) and answer and isinstance(answer[0], list)
            if is_claim and not self.came.is_set():
                self.came.set()
                await self.go.wait()
                if self.lost:
                    raise RedisConnectionError("lost")
            return answer

        monkeypatch.setattr(pool, "parse_response", parsed)


async def test_told_to_stop_while_it_claims_it_gives_the_jobs_back_at_once(
    redis: ArqRedis,
    pool: PagedRedis,
    database: Database,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, answer = Jobs(), Answer(pool, monkeypatch)
    worker = make_worker(database, pool=pool, functions=functions(restock=jobs.run))
    await enqueue(redis, ["one", "two"])
    await redis.set(retry_key_prefix + "two", 3)
    main = asyncio.create_task(worker.main())
    await answer.came.wait()
    assert await redis.exists(in_progress_key_prefix + "one", in_progress_key_prefix + "two") == 2
    main.cancel()
    answer.go.set()
    with pytest.raises(asyncio.CancelledError):
        await main
    assert not worker.tasks
    assert not jobs.ran
    assert not await redis.exists(in_progress_key_prefix + "one", in_progress_key_prefix + "two")
    assert await redis.mget(retry_key_prefix + "one", retry_key_prefix + "two") == [b"0", b"3"]
    assert await redis.zcard(QUEUE) == 2


async def test_a_claim_whose_answer_is_lost_is_the_same_claim_when_it_is_sent_again(
    redis: ArqRedis,
    pool: PagedRedis,
    database: Database,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Answer(pool, monkeypatch)
    answer.lost = True
    answer.go.set()
    worker = make_worker(database, pool=pool, functions=functions(restock=done))
    await enqueue(redis, ["one", "two", "elsewhere"])
    await redis.set(in_progress_key_prefix + "elsewhere", "1")
    main = asyncio.create_task(worker.main())

    async def both_done() -> bool:
        return bool(await redis.exists(result_key_prefix + "one", result_key_prefix + "two") == 2)

    await until(both_done, "the jobs to be done")
    main.cancel()
    await asyncio.wait([main])
    assert answer.came.is_set()
    assert [(await result_of(redis, job_id))["t"] for job_id in ("one", "two")] == [1, 1]
    assert not await redis.exists(result_key_prefix + "elsewhere")


async def test_a_job_that_another_worker_has_ended_meanwhile_is_not_deferred(
    redis: ArqRedis, pool: PagedRedis, database: Database, make_worker: MakeWorker
) -> None:
    """As by a worker that was frozen for longer than its claim holds: the job would come back without content."""

    async def too_late(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
        await redis.zrem(QUEUE, "job")
        raise Retry(defer=30)

    await enqueue(redis, ["job"])
    await run_job(make_worker, database, too_late, pool=pool)
    assert await redis.exists(QUEUE) == 0


async def test_a_job_is_deferred_by_so_long(
    redis: ArqRedis, pool: PagedRedis, database: Database, make_worker: MakeWorker
) -> None:
    await enqueue(redis, ["job"])
    before = timestamp_ms()
    await run_job(make_worker, database, again_later, pool=pool)
    due_ms = await redis.zscore(QUEUE, "job")
    assert due_ms
    assert before + 30_000 <= due_ms <= timestamp_ms() + 30_000
