"""What goes wrong with one request costs the others nothing, or as little as can be."""

import asyncio

import pytest
import structlog

from tests.unit.worker.queue.grouped import (
    BUG,
    DEADLOCK,
    LOCK_WAIT,
    OUTAGE,
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
)
from worker.database.retry import DatabaseError, Kind
from worker.queue.batch_size import LEAST, MOST, BatchSize


@pytest.fixture
def work() -> Work:
    """Whose batches run at once."""
    made = Work()
    made.go.set()
    return made


@pytest.fixture
def size() -> BatchSize:
    return BatchSize(MOST)


@pytest.fixture
def group(work: Work, size: BatchSize) -> Group:
    return group_of(work, size=size)


async def test_a_request_that_fails_takes_no_neighbour_along(group: Group, work: Work) -> None:
    first, bad, last = asks(1, of="first "), asks(1, of="bad "), asks(3, of="last ")
    work.failing[bad[0]] = BUG
    results = await asyncio.gather(*(run(group, job) for job in (first, bad, last)))
    assert results == [outcomes(first), [BUG], outcomes(last)]


@pytest.mark.parametrize("error", [BUG, KeyError("no error of the database")], ids=["database", "other"])
async def test_of_a_job_with_a_request_that_fails_the_others_have_their_outcomes(
    error: Exception, group: Group, work: Work
) -> None:
    requests = asks(5)
    work.failing[requests[2]] = error
    results = await run(group, requests)
    assert results == [*outcomes(requests[:2]), error, *outcomes(requests[3:])]
    assert work.batches == [requests, requests[:2], requests[2:], requests[2:3], requests[3:]]
    assert not work.probes


async def test_one_request_of_many_that_fails_is_found_in_few_batches(group: Group, work: Work) -> None:
    jobs = [[request] for request in asks(MOST)]
    work.failing[jobs[77][0]] = BUG
    results = await asyncio.gather(*(run(group, job) for job in jobs))
    assert results == [*map(outcomes, jobs[:77]), [BUG], *map(outcomes, jobs[78:])]
    assert len(work.batches) <= 1 + 2 * MOST.bit_length()


async def test_a_request_that_fails_alone_is_not_tried_a_second_time(group: Group, work: Work) -> None:
    (request,) = requests = asks(1)
    work.failing[request] = BUG
    assert await run(group, requests) == [BUG]
    assert work.holding(request) == 1


async def test_an_outage_is_everyones_and_no_reason_to_ask_one_by_one(group: Group, work: Work) -> None:
    requests = asks(5)
    work.failing[requests[2]] = OUTAGE
    assert await run(group, requests) == [OUTAGE] * 5
    assert work.batches == [requests]
    assert not work.probes


async def test_after_a_conflict_only_requests_whose_rows_are_free_run_again(
    group: Group, work: Work, size: BatchSize
) -> None:
    requests = asks(6)
    held = {requests[1], requests[4]}
    work.held |= held
    work.failing |= dict.fromkeys(held, DEADLOCK)
    free = [request for request in requests if request not in held]
    assert await run(group, requests) == [
        DEADLOCK if request in held else outcome(request) for request in requests
    ]
    assert work.batches == [requests, free]
    assert work.probes == [requests]
    assert size.now == MOST, "a deadlock says nothing about the size"


async def test_after_a_conflict_about_rows_that_are_free_by_now_nothing_is_repeated(
    group: Group, work: Work
) -> None:
    """The jobs try again by themselves, a little later."""
    requests = asks(3)
    work.failing[requests[0]] = DEADLOCK
    assert await run(group, requests) == [DEADLOCK] * 3
    assert work.batches == work.probes == [requests]


async def test_the_conflict_of_a_request_alone_is_its_own(group: Group, work: Work) -> None:
    requests = asks(1)
    work.failing[requests[0]] = DEADLOCK
    assert await run(group, requests) == [DEADLOCK]
    assert (work.batches, work.probes) == ([requests], [])


async def test_if_no_row_is_free_nothing_runs_again(group: Group, work: Work) -> None:
    requests = asks(3)
    work.held |= set(requests)
    work.failing[requests[0]] = DEADLOCK
    assert await run(group, requests) == [DEADLOCK] * 3
    assert work.batches == [requests]


@pytest.mark.parametrize("error", [OUTAGE, KeyError("a bug")], ids=["outage", "bug"])
async def test_if_free_rows_cannot_be_found_out_every_request_fails_and_none_waits_for_ever(
    error: Exception, group: Group, work: Work
) -> None:
    requests = asks(3)
    work.failing[requests[0]] = DEADLOCK
    work.probing_fails = error
    assert await run(group, requests) == [error] * 3
    work.failing.clear()
    assert await run(group, requests) == outcomes(requests), "and the next batch runs"


async def test_a_lock_wait_timeout_makes_the_next_batches_small_at_once(
    group: Group, work: Work, size: BatchSize
) -> None:
    """Also what waited already, in shares of a larger batch."""
    work.go.clear()
    requests = asks(1, of="first ")
    work.failing[requests[0]] = LOCK_WAIT
    work.held.add(requests[0])
    tasks = [start(run(group, requests))]
    await until_begun(work, 1)
    tasks += [start(run(group, [request])) for request in asks(2 * LEAST)]
    await turn_of_the_loop()
    work.go.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in work.batches] == [1, LEAST, LEAST]
    assert size.now > LEAST, "they were quick and full"


async def test_after_a_lock_wait_timeout_batches_are_probed_for_a_while(group: Group, work: Work) -> None:
    """Or each batch would wait as long for the same row."""
    bad, good = asks(1, of="bad "), asks(2, of="good ")
    work.held.add(bad[0])
    work.failing[bad[0]] = LOCK_WAIT
    assert await run(group, [*bad, *good]) == [LOCK_WAIT, *outcomes(good)]
    assert work.batches == [[*bad, *good], good]
    for again in (False, True):
        held, *others = await run(group, [*bad, *good], again=again)
        assert isinstance(held, DatabaseError)
        assert held.kind is Kind.CONFLICT
        assert held.is_transient
        assert "another transaction holds a row of it" in str(held)
        assert others == outcomes(good)
    assert work.holding(bad[0]) == 1, "it is in no batch again while its row is held"
    work.held.clear()
    work.failing.clear()
    assert await run(group, [*bad, *good]) == outcomes([*bad, *good])
    probes = len(work.probes)
    group._probes_until = asyncio.get_running_loop().time()
    assert await run(group, good) == outcomes(good)
    assert len(work.probes) == probes, "a row that is held for a moment by another batch is no reason to wait"


async def test_first_and_later_tries_share_no_batch_and_have_it_by_turns(group: Group, work: Work) -> None:
    work.go.clear()
    tasks = [start(run(group, asks(1, of="first ")))]
    await until_begun(work, 1)
    fresh, again = asks(MOST * 2, of="fresh "), asks(MOST * 2, of="again ")
    tasks += [start(run(group, [request])) for request in fresh]
    tasks += [start(run(group, [request], again=True)) for request in again]
    await turn_of_the_loop()
    work.go.set()
    await asyncio.gather(*tasks)
    assert [{request.of for request in batch} for batch in work.batches[1:]] == [
        {"again "},
        {"fresh "},
        {"again "},
        {"fresh "},
    ]
    assert work.most_at_a_time == 1


async def test_later_tries_alone_need_not_wait_for_first_ones(group: Group, work: Work) -> None:
    requests = asks(MOST * 2, of="again ")
    assert await run(group, requests, again=True) == outcomes(requests)
    assert len(work.batches) == 2


async def test_later_tries_run_together_unless_a_row_is_known_to_be_held(group: Group, work: Work) -> None:
    requests = asks(4)
    work.held.add(requests[1])
    assert await run(group, requests, again=True) == outcomes(requests)
    assert (work.batches, work.probes) == ([requests], [])


async def test_a_bug_among_later_tries_is_found_too(group: Group, work: Work) -> None:
    requests = asks(4)
    work.failing[requests[3]] = BUG
    assert await run(group, requests, again=True) == [*outcomes(requests[:3]), BUG]


async def test_a_batch_that_falls_apart_is_logged_once_per_transaction(group: Group, work: Work) -> None:
    requests = asks(2)
    work.failing[requests[0]] = BUG
    with structlog.testing.capture_logs() as logs:
        await run(group, requests)
    (line,) = [log for log in logs if log["event"] == "batch fails"]
    assert line["orders"] == 2
