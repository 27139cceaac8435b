"""A claimed job belongs to its worker for as long as that lives, and to another one soon after."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, retry_key_prefix
from arq.utils import timestamp_ms
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.asking import PATIENCE_SECONDS, Session, until, until_waiting
from tests.integration.conftest import QUEUE, MakeWorker, functions, running
from tests.integration.job_cases import Jobs, done, enqueue, result_of, until_done
from tests.integration.patience import NEVER
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import claims, paged_redis, turns
from worker.queue.claims import Claimed, claim
from worker.queue.paged_redis import PagedRedis

MARK: Final = in_progress_key_prefix + "job"
A_MOMENT: Final = 0.02
SHORT_MS: Final = 20_000  # of a lease; a renewed one is longer


@pytest.fixture
def renewals(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The jobs of each renewal; they are frequent."""
    noted: list[list[str]] = []
    renew = claims.renew

    async def renew_and_note(redis: ArqRedis, queue: str, jobs: list[Claimed]) -> None:
        await renew(redis, queue, jobs)
        noted.append([job.name for job in jobs])

    monkeypatch.setattr(paged_redis, "RENEW_SECONDS", A_MOMENT)
    monkeypatch.setattr(paged_redis, "renew", renew_and_note)
    return noted


def begun(jobs: Jobs, count: int = 1) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return jobs.ran >= count

    return ask


async def until_renewed_again(renewals: list[list[str]]) -> None:
    """Twice: the first may have been under way."""
    count = len(renewals)

    async def renewed() -> bool:
        return len(renewals) >= count + 2

    await until(renewed, "the leases to be renewed")


async def test_a_lease_is_renewed_while_its_job_runs(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, renewals: list[list[str]]
) -> None:
    jobs = Jobs()
    await enqueue(redis, ["job"])
    async with running(make_worker(database, functions=functions(restock=jobs.run), burst=False)):
        await until(begun(jobs), "the job to begin")
        claim_name = await redis.get(MARK)
        for _ in range(3):
            await redis.pexpire(MARK, SHORT_MS)
            await until_renewed_again(renewals)
            assert await redis.pttl(MARK) > SHORT_MS
        assert await redis.get(MARK) == claim_name
        jobs.go.set()
        await until_done(redis, ["job"])
    assert not await redis.exists(MARK)


async def test_the_leases_of_jobs_that_have_not_begun_are_renewed_too(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, renewals: list[list[str]]
) -> None:
    jobs = Jobs()
    await enqueue(redis, ["a", "b", "job"])
    worker = make_worker(database, functions=functions(restock=jobs.run), max_jobs=1, queue_read_limit=3)
    run = asyncio.create_task(worker.main())
    await until(begun(jobs), "the first job to begin")
    await redis.pexpire(MARK, SHORT_MS)
    await until_renewed_again(renewals)
    assert await redis.pttl(MARK) > SHORT_MS
    assert set(renewals[-1]) == {"a", "b", "job"}
    jobs.go.set()
    await run


async def test_a_lease_that_has_run_out_is_taken_again_if_no_other_worker_has_the_job(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, renewals: list[list[str]]
) -> None:
    jobs = Jobs()
    await enqueue(redis, ["job"])
    async with running(make_worker(database, functions=functions(restock=jobs.run), burst=False)):
        await until(begun(jobs), "the job to begin")
        await redis.zadd(QUEUE, {"job": timestamp_ms() + 3_600_000})  # it could also claim it
        await redis.delete(MARK)
        await until_renewed_again(renewals)
        assert await redis.pttl(MARK) > SHORT_MS
        jobs.go.set()
        await until_done(redis, ["job"])
    assert jobs.ran == 1


async def test_a_worker_that_claims_a_job_that_it_has_already_runs_it_once(
    redis: ArqRedis,
    pool: PagedRedis,
    database: Database,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A starved worker finds its own job, whose lease has run out, before it comes to renew it."""
    monkeypatch.setattr(paged_redis, "RENEW_SECONDS", NEVER)
    jobs = Jobs()
    await enqueue(redis, ["job"])
    worker = make_worker(database, pool=pool, functions=functions(restock=jobs.run), burst=False)
    async with running(worker):
        await until(begun(jobs), "the job to begin")
        old = pool._running["job"].claim
        await redis.delete(MARK)

        async def claimed_again() -> bool:
            return bool(await redis.exists(MARK))

        await until(claimed_again, "the worker to look for jobs")
        await enqueue(redis, ["next"])
        await until(begun(jobs, 2), "the next job to begin")
        new = pool._running["job"].claim
        assert new != old
        assert await redis.get(MARK) == new.encode(), "it renews what it has"
        jobs.go.set()
        await until_done(redis, ["job", "next"])
    assert jobs.ran == 2
    assert worker.jobs_complete == 2
    assert pool.room._held_jobs == 0


async def test_a_lease_that_another_worker_has_by_now_is_left_to_it(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, renewals: list[list[str]]
) -> None:
    jobs = Jobs()
    await enqueue(redis, ["job"])
    async with running(make_worker(database, functions=functions(restock=jobs.run), burst=False)):
        await until(begun(jobs), "the job to begin")
        await redis.set(MARK, "another", px=SHORT_MS)
        await until_renewed_again(renewals)
        assert await redis.get(MARK) == b"another"
        assert await redis.pttl(MARK) <= SHORT_MS
        jobs.go.set()


async def test_a_job_that_left_the_queue_gets_no_new_mark(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, renewals: list[list[str]]
) -> None:
    """Another worker has ended it: a mark would stay, and hold up the next job of that id."""
    jobs = Jobs()
    await enqueue(redis, ["job"])
    async with running(make_worker(database, functions=functions(restock=jobs.run), burst=False)):
        await until(begun(jobs), "the job to begin")
        await redis.zrem(QUEUE, "job")
        await redis.delete(MARK)
        await until_renewed_again(renewals)
        assert not await redis.exists(MARK)
        jobs.go.set()


async def test_a_redis_that_fails_ends_no_renewals(
    redis: ArqRedis,
    pool: PagedRedis,
    database: Database,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, failures = Jobs(), [ConnectionError("gone"), RedisConnectionError("gone")]
    monkeypatch.setattr(paged_redis, "RENEW_SECONDS", A_MOMENT)
    renew = claims.renew

    async def fail_first(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        await renew(*arguments)

    monkeypatch.setattr(paged_redis, "renew", fail_first)
    await enqueue(redis, ["job"])
    async with running(make_worker(database, pool=pool, functions=functions(restock=jobs.run), burst=False)):
        await until(begun(jobs), "the job to begin")
        await redis.pexpire(MARK, SHORT_MS)

        async def renewed() -> bool:
            return bool(await redis.pttl(MARK) > SHORT_MS)

        await until(renewed, "the lease to be renewed")
        jobs.go.set()
    assert not failures


async def test_the_jobs_of_a_killed_worker_are_claimed_by_another_when_its_leases_run_out(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is left of it are its claims."""
    await enqueue(redis, ["one", "two"])
    with monkeypatch.context() as short:
        short.setattr(claims, "LEASE_SECONDS", 1)
        assert len(await claim(redis, QUEUE, due_ms=timestamp_ms(), jobs=10, size=10_000)) == 2
    async with running(make_worker(database, functions=functions(restock=done), burst=False)):
        await until_done(redis, ["one", "two"])
    assert [(await result_of(redis, job_id))["t"] for job_id in ("one", "two")] == [2, 2]


@pytest.mark.both_isolations
async def test_a_job_whose_lease_runs_out_while_its_batch_runs_has_the_first_outcome_by_a_second_worker(
    redis: ArqRedis,
    database: Database,
    client: OrderClient,
    session: Session,
    other_session: Session,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A starved worker: it renews nothing, and comes to the end of the job after the second has."""
    monkeypatch.setattr(paged_redis, "RENEW_SECONDS", NEVER)
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.1)
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    job_id = str(order.order_id)
    receipt = await client.place(order)
    go_on, has_committed = asyncio.Event(), asyncio.Event()

    async def starve(_ctx: dict[Any, Any]) -> None:
        has_committed.set()
        await go_on.wait()

    first = make_worker(database, burst=False, max_jobs=1, on_job_end=starve)  # it claims nothing besides
    second = make_worker(database, burst=False)

    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    async with running(first):
        await until_waiting(other_session, 1)
        await redis.delete(in_progress_key_prefix + job_id)
        async with running(second):
            await until_waiting(other_session, 2)
            await session.run("COMMIT")
            await asyncio.wait_for(has_committed.wait(), PATIENCE_SECONDS)
            by_second = await receipt.outcome(timeout=PATIENCE_SECONDS)
            kept = await result_of(redis, job_id)
            assert second.jobs_complete == 1
            go_on.set()

            async def both_done() -> bool:
                return bool((await result_of(redis, job_id))["t"] == 1)

            await until(both_done, "the first worker to end the job, too")
    assert by_second.status == "placed"
    assert kept["t"] > 1
    assert (await result_of(redis, job_id))["r"] == kept["r"]
    assert await session.value("SELECT available FROM stock") == 4
    assert not await redis.exists(retry_key_prefix + job_id)
    assert await redis.zcard(QUEUE) == 0
    assert not await broken_invariants(database)
