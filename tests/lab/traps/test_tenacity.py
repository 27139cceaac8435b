"""The traps of tenacity itself."""

import asyncio

import pytest
import structlog
from tenacity import (
    AsyncRetrying,
    retry,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
)

from jobs.transaction import Transaction
from tests.asking import PATIENCE_SECONDS
from tests.lab.traps.bare import conflict
from worker.database.retry import attempts
from worker.database.transactions import Database


async def test_negative_predicate_wrong_a_cancelled_job_runs_on() -> None:
    """Q13. "Everything but ValueError" includes CancelledError."""
    begun: asyncio.Queue[int] = asyncio.Queue()

    @retry(retry=retry_if_not_exception_type(ValueError), stop=stop_after_attempt(3))
    async def job() -> None:
        begun.put_nowait(1)
        await asyncio.Event().wait()

    task = asyncio.create_task(job())
    for _ in range(2):
        await begun.get()
        task.cancel()
    await begun.get()
    assert not task.done(), "cancelled twice, and in its third attempt"
    task.cancel()
    with pytest.raises(Exception, match="CancelledError"):  # as the cause of a RetryError
        await task
    assert not task.cancelled()


async def test_negative_predicate_right_a_cancelled_job_ends(database: Database) -> None:
    """Q13. Conflicts and outages are tried again, and nothing else."""
    begun: asyncio.Queue[int] = asyncio.Queue()

    async def job(_: Transaction) -> None:
        begun.put_nowait(1)
        await asyncio.Event().wait()

    task = asyncio.create_task(database.transact(job, job="test"))
    await begun.get()
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    assert task.cancelled()
    assert begun.empty()


async def test_shared_statistics_wrong_a_call_reads_the_count_of_another() -> None:
    """Q13. They belong to the function, so that the last call to begin sets them back for all."""
    calls: list[str] = []
    finish = asyncio.Event()

    @retry(retry=retry_if_exception_type(ValueError), stop=stop_after_attempt(5))
    async def job(name: str) -> int:
        calls.append(name)
        if name == "unlucky" and calls.count(name) < 3:
            raise ValueError
        begun.put_nowait(job.statistics["attempt_number"])
        await finish.wait()
        return int(job.statistics["attempt_number"])

    begun: asyncio.Queue[int] = asyncio.Queue()
    unlucky = asyncio.create_task(job("unlucky"))
    assert await begun.get() == 3
    lucky = asyncio.create_task(job("lucky"))
    await begun.get()
    finish.set()
    assert calls.count("unlucky") == 3
    assert await unlucky == 1, "its third attempt, it says, was the first"
    await lucky


async def test_shared_statistics_wrong_a_failure_is_lost_between_two_loops() -> None:
    """Q13. `async for attempt in` one object by two tasks: the first ends after 2 of 3 attempts, without error or result."""
    shared = AsyncRetrying(
        retry=retry_if_exception_type(ValueError), stop=stop_after_attempt(3), reraise=True
    )
    second_attempt, other_is_done = asyncio.Event(), asyncio.Event()
    failures = 0

    async def failing() -> None:
        nonlocal failures
        async for attempt in shared:
            with attempt:
                failures += 1
                if failures == 2:
                    second_attempt.set()
                    await other_is_done.wait()
                raise ValueError

    task = asyncio.create_task(failing())
    await second_attempt.wait()
    async for attempt in shared:
        with attempt:
            other_is_done.set()
            break
    await task  # no error
    assert failures == 2


async def test_shared_statistics_right_every_call_has_its_own() -> None:
    """Q13. `attempts` makes them anew for each call of a job: nothing is lost, and the log counts each call's own."""
    second_attempt, other_is_done = asyncio.Event(), asyncio.Event()

    async def unlucky() -> str:
        failures = 0
        async for attempt in attempts("job", 60):
            with attempt:
                if failures == 2:
                    return "the third attempt"
                failures += 1
                if failures == 2:
                    second_attempt.set()
                    await other_is_done.wait()
                raise conflict()
        return "lost"

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(unlucky())
        await second_attempt.wait()
        async for attempt in attempts("job", 60):
            with attempt:
                other_is_done.set()
                break
        assert await task == "the third attempt"
    assert [log["attempt"] for log in logs] == [1, 2]
