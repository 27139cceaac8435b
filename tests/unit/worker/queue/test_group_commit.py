"""Which requests share a transaction, and who hears of their outcomes; batches are recorded, and nothing knows orders."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.worker.queue.grouped import (
    MOST_WEIGHT,
    Ask,
    Gate,
    Group,
    Work,
    asks,
    group_of,
    outcome,
    outcomes,
    run,
    start,
    turn_of_the_loop,
    until_begun,
    whose,
)
from worker.queue.batch_size import LEAST, MOST, BatchSize
from worker.queue.group_commit import MAX_SHARE, SHARES, _Job, _Share

MOST_REQUESTS = 500  # of a job
HEAVY = MOST_WEIGHT // SHARES // 2  # two fill a share


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def group(work: Work) -> Group:
    return group_of(work)


async def begin_one(group: Group, work: Work) -> "asyncio.Task[list[str | Exception]]":
    """What comes now waits behind it."""
    task = start(run(group, asks(1, of="first ")))
    await until_begun(work, 1)
    return task


async def test_a_request_alone_starts_at_once_and_what_comes_meanwhile_shares_the_next_batch(
    group: Group, work: Work
) -> None:
    tasks = [await begin_one(group, work)]
    late = asks(50)
    for request in late:
        tasks.append(start(run(group, [request])))
        await asyncio.sleep(0)
    work.go.set()
    await asyncio.gather(*tasks)
    assert work.batches[1:] == [late]


async def test_what_comes_in_the_same_moment_shares_a_batch(group: Group, work: Work) -> None:
    work.go.set()
    requests = asks(200)
    results = await asyncio.gather(*(run(group, [request]) for request in requests))
    assert list(chain.from_iterable(results)) == outcomes(requests)
    assert work.batches == [requests]


async def test_one_batch_runs_at_a_time(group: Group, work: Work) -> None:
    work.go.set()
    await asyncio.gather(*(run(group, asks(70)) for _ in range(100)))
    assert work.most_at_a_time == 1
    assert MOST // 70 == 4
    assert [len(batch) for batch in work.batches] == [4 * 70] * 25


async def test_no_requests_are_no_batch(group: Group, work: Work) -> None:
    assert await run(group, []) == []
    assert not work.batches


def shares(group: Group, jobs: Iterable[Sequence[Ask]]) -> list[_Share[Ask, str]]:
    loop = asyncio.get_running_loop()
    paged = ((_Job(loop.time()), group._pages((request, None) for request in job)) for job in jobs)
    return [_Share(*page, job, loop.create_future()) for job, pages in paged for page in pages]


def batch_of(group: Group) -> list[Ask]:
    return [request for share in group._next_batch(0) for request, _ in share.asked]


weights = st.sampled_from([1, 10, 100, HEAVY])
jobs = st.builds(asks, st.integers(1, MOST_REQUESTS), weights).filter(
    lambda job: sum(request.weight for request in job) <= MOST_WEIGHT
)


@given(st.lists(jobs, min_size=1, max_size=8), st.integers(LEAST, MOST))
async def test_every_batch_keeps_within_its_limits_and_holds_the_oldest_requests(
    waiting: list[list[Ask]], now: int
) -> None:
    group = group_of(Work(), size=BatchSize(now))
    group._lanes[0] = shares(group, waiting)
    count = 0
    while group._lanes[0]:
        oldest = group._lanes[0][0]
        batch = group._next_batch(0)
        requests = [request for share in batch for request, _ in share.asked]
        assert batch[0] is oldest
        assert all(share.job.has_begun for share in batch)
        assert all(len(share.asked) <= MAX_SHARE for share in batch)
        assert len(requests) <= now
        assert sum(request.weight for request in requests) <= MOST_WEIGHT
        count += len(requests)
    assert count == sum(map(len, waiting)), "each once"


@given(st.lists(jobs.filter(lambda job: len(job) > 1), max_size=8), weights)
@example([asks(10, HEAVY)], 1)
async def test_a_request_alone_is_in_the_very_next_batch_although_big_jobs_wait(
    waiting: list[list[Ask]], weight: int
) -> None:
    group = group_of(Work())
    alone = Ask(1, weight, of="alone ")
    group._lanes[0] = shares(group, [*waiting, [alone]])
    assert alone in batch_of(group)


async def test_a_flood_of_small_jobs_holds_no_big_one_back(group: Group) -> None:
    big = asks(MOST_REQUESTS, of="big ")
    group._lanes[0] = shares(group, [big])
    done: list[Ask] = []
    for _ in range(MOST_REQUESTS // MAX_SHARE):
        group._lanes[0] += shares(group, [[request] for request in asks(2 * MOST)])
        done += batch_of(group)[:MAX_SHARE]
    assert done == big


async def test_a_job_of_many_shares_has_its_outcomes_in_its_own_order(group: Group, work: Work) -> None:
    work.go.set()
    big, other, small = asks(MOST_REQUESTS, of="big "), asks(250, of="other "), asks(3, of="small ")
    results = await asyncio.gather(*(run(group, job) for job in (big, other, small)))
    assert results == [outcomes(big), outcomes(other), outcomes(small)]


async def test_the_same_request_of_two_jobs_has_an_outcome_each(group: Group, work: Work) -> None:
    """Which it is, the batch function says; here nothing may get lost or mixed up."""
    work.go.set()
    first, second = asks(3, of="first "), asks(3, of="second ")
    twice = [*first, second[1], first[0]]
    results = await asyncio.gather(*(run(group, job) for job in (twice, second, twice)))
    assert results == [outcomes(twice), outcomes(second), outcomes(twice)]


async def test_a_batch_waits_for_its_turn_and_gathers_meanwhile(work: Work) -> None:
    gate = Gate()
    gate.open.clear()
    work.go.set()
    group = group_of(work, turns=gate)
    requests = asks(20)
    tasks = []
    for request in requests:
        tasks.append(start(run(group, [request])))
        await turn_of_the_loop()
    assert not work.batches
    assert gate.asked == 1
    gate.open.set()
    await asyncio.gather(*tasks)
    assert work.batches == [requests]
    assert gate.left == 1


async def test_each_batch_has_a_turn_of_its_own(work: Work) -> None:
    gate = Gate()
    work.go.set()
    await run(group_of(work, turns=gate), asks(2 * MOST))
    assert len(work.batches) == gate.asked == gate.left == 2


async def test_a_turn_for_which_no_request_waits_any_more_runs_nothing(work: Work) -> None:
    gate = Gate()
    gate.open.clear()
    group = group_of(work, turns=gate)
    gone = start(run(group, asks(2)))
    await turn_of_the_loop()
    gone.cancel()
    await turn_of_the_loop()
    gate.open.set()
    await group.close()
    assert gone.cancelled()
    assert (work.batches, gate.left) == ([], 1)


async def test_the_traces_of_requests_go_by_their_keys(group: Group, work: Work) -> None:
    """Those without one are left out, and the batch runs in the context of no job."""
    work.go.set()
    whose.set("a job's")
    requests = asks(4)
    await group.run_each(requests, ["trace 0", None, "trace 2", "trace 2"])
    assert work.traceparents == [{0: "trace 0", 2: "trace 2", 3: "trace 2"}]
    assert work.contexts == {"no job's"}


async def test_one_request_has_its_outcome_or_raises_what_went_wrong(group: Group, work: Work) -> None:
    work.go.set()
    good, bad = asks(2)
    work.failing[bad] = ValueError("a bug")
    assert await group.run(good) == outcome(good)
    with pytest.raises(ValueError, match="a bug"):
        await group.run(bad)


async def test_closing_waits_for_the_batch_that_runs_and_for_what_waits_behind_it(
    group: Group, work: Work
) -> None:
    running = await begin_one(group, work)
    waiting = start(run(group, asks(2)))
    await turn_of_the_loop()
    closing = asyncio.create_task(group.close())
    await turn_of_the_loop()
    assert not closing.done()
    work.go.set()
    await closing
    assert len(work.batches) == 2
    assert not work.running
    await asyncio.gather(running, waiting)


async def test_a_group_commit_that_was_never_used_can_be_closed(group: Group) -> None:
    await group.close()
