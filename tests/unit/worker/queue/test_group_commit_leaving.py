"""Requests that wait for too long, and jobs that are cancelled: before their batch begins, and after."""

import asyncio

import pytest

from tests.unit.worker.queue.grouped import (
    NEVER,
    Gate,
    Group,
    Work,
    asks,
    group_of,
    outcomes,
    run,
    start,
    turn_of_the_loop,
    until_begun,
)
from worker.queue.group_commit import MAX_SHARE, OverdueError

A_MOMENT = 0.001  # seconds after which a request is overdue, if nothing can begin


def wait_for_too_long(group: Group) -> None:
    """As if all that waits, or has a part that waits, had done so since long ago."""
    for job in {share.job for lane in group._lanes for share in lane}:
        job.since -= NEVER
    group._give_up()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def group(work: Work) -> Group:
    return group_of(work)


async def test_a_request_that_is_in_no_batch_in_time_is_given_up(work: Work) -> None:
    gate = Gate()
    gate.open.clear()
    group = group_of(work, turns=gate, wait_seconds=A_MOMENT)
    for result in await run(group, asks(MAX_SHARE + 1)):
        assert isinstance(result, OverdueError)
    with pytest.raises(OverdueError, match=f"it was in no batch within {A_MOMENT} s"):
        await group.run(asks(1)[0])
    gate.open.set()
    await group.close()
    assert not work.batches


async def test_one_that_has_begun_has_the_outcome_of_its_batch_however_long_that_takes(
    group: Group, work: Work
) -> None:
    begun = start(run(group, asks(2)))
    await until_begun(work, 1)
    late = start(run(group, asks(1)))
    await turn_of_the_loop()
    wait_for_too_long(group)
    (overdue,) = await late
    assert isinstance(overdue, OverdueError)
    assert not begun.done()
    work.go.set()
    assert await begun == outcomes(asks(2))
    await group.close()
    assert len(work.batches) == 1


async def test_a_job_of_many_shares_that_has_begun_is_not_given_up(group: Group, work: Work) -> None:
    """It would run again from its start, although a part of it has its outcome."""
    requests = asks(5 * MAX_SHARE)
    begun = start(run(group, requests))
    await until_begun(work, 1)
    late = start(run(group, asks(1)))
    await turn_of_the_loop()
    wait_for_too_long(group)
    (overdue,) = await late
    assert isinstance(overdue, OverdueError), "the time is over for all that have not begun"
    work.go.set()
    assert await begun == outcomes(requests)
    await group.close()


async def test_who_came_later_is_given_up_later(work: Work) -> None:
    """In either lane; the timer is for the next."""
    gate = Gate()
    gate.open.clear()
    group = group_of(work, turns=gate)
    early, late = start(run(group, asks(1))), start(run(group, asks(1), again=True))
    await turn_of_the_loop()
    (first,), (second,) = group._lanes
    first.job.since -= NEVER
    group._give_up()
    (result,) = await early
    assert isinstance(result, OverdueError)
    assert not late.done()
    assert group._timer
    assert group._timer.when() == pytest.approx(second.job.since + NEVER)
    second.job.since -= NEVER
    group._give_up()
    (result,) = await late
    assert isinstance(result, OverdueError)
    assert group._timer is None
    gate.open.set()
    await group.close()


async def test_a_job_that_is_cancelled_before_its_batch_begins_is_left_out(group: Group, work: Work) -> None:
    running = start(run(group, asks(1, of="first ")))
    await until_begun(work, 1)
    cancelled, waiting = asks(MAX_SHARE + 1, of="cancelled "), asks(2)
    gone, stays = start(run(group, cancelled)), start(run(group, waiting))
    await turn_of_the_loop()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    work.go.set()
    assert await stays == outcomes(waiting)
    await running
    assert work.batches[1:] == [waiting]


async def test_a_job_that_is_cancelled_while_its_batch_runs_has_its_outcomes_all_the_same(
    group: Group, work: Work
) -> None:
    cancelled, other = asks(2, of="cancelled "), asks(2)
    gone, stays = start(run(group, cancelled)), start(run(group, other))
    await until_begun(work, 1)
    gone.cancel()
    await turn_of_the_loop()
    assert not gone.done()
    work.go.set()
    assert await gone == outcomes(cancelled)
    assert await stays == outcomes(other)
    assert work.batches == [cancelled + other]


async def test_a_job_of_many_shares_that_is_cancelled_when_one_has_begun_has_the_outcomes_of_all(
    group: Group, work: Work
) -> None:
    """A part of an outcome is of no use to its client."""
    requests = asks(5 * MAX_SHARE)
    gone = start(run(group, requests))
    await until_begun(work, 1)
    assert len(work.batches[0]) < len(requests)
    gone.cancel()
    work.go.set()
    assert await gone == outcomes(requests)
    assert [request for batch in work.batches for request in batch] == requests


async def test_one_that_is_cancelled_between_two_of_its_batches_has_the_outcomes_of_all(work: Work) -> None:
    gate = Gate()
    group = group_of(work, turns=gate)
    requests = asks(5 * MAX_SHARE)
    gone = start(run(group, requests))
    await until_begun(work, 1)
    gate.open.clear()
    work.go.set()
    while gate.asked < 2:
        await asyncio.sleep(0)
    gone.cancel()
    await turn_of_the_loop()
    assert not gone.done()
    gate.open.set()
    assert await gone == outcomes(requests)


async def test_when_the_loop_ends_no_job_waits_for_a_batch_that_was_cancelled(work: Work) -> None:
    """As by asyncio.run, which cancels all tasks and waits for them."""
    group = group_of(work)
    begun = start(run(group, asks(1)))
    await until_begun(work, 1)
    assert group._working
    group._working.cancel()
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
