import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from arq.connections import ArqRedis
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import LockstepError
from worker.queue import sending, wire
from worker.queue.sending import Sender, grouped, lines

NO_REDIS = cast("ArqRedis", None)  # round trips are recorded, not made


def an_order(order_id: UUID | None = None, line_count: int = 1, quantity: int = 1) -> wire.Message:
    key = str(order_id or uuid4())
    line = [{"product_id": product, "quantity": quantity} for product in range(1, line_count + 1)]
    return wire.Message(wire.PLACE_ORDER, key, {"order_id": key, "customer_id": 1, "lines": line})


class RoundTrips:
    """Stands in for Redis: accepts all jobs, once it is let go."""

    def __init__(self) -> None:
        self.jobs: list[list[wire.Message]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def enqueue(self, redis: ArqRedis, messages: Sequence[wire.Message]) -> list[bool]:
        assert redis is NO_REDIS
        self.jobs.append(list(messages))
        self.begun.set()
        await self.go.wait()
        if self.error:
            raise self.error
        return [True for _ in messages]

    def shapes(self) -> list[list[tuple[str, int]]]:
        """Name and number of requests of each job, by round trip."""
        return [
            [(job.task, len(job.payload) if job.task == wire.PLACE_ORDERS else 1) for job in jobs]
            for jobs in self.jobs
        ]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> RoundTrips:
    recorded = RoundTrips()
    monkeypatch.setattr(wire, "enqueue", recorded.enqueue)
    return recorded


@pytest.fixture
def sender(trips: RoundTrips) -> Sender:
    return Sender(NO_REDIS, linger_seconds=0.0)


def calling(sender: Sender, *messages: wire.Message, alone: bool = False) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(sender.send(message, alone=alone)) for message in messages]


async def each(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


@given(st.lists(st.integers(1, 500), max_size=300), st.integers(1, 500))
async def test_groups_keep_the_order_and_both_limits_and_are_as_large_as_they_may(
    counts: list[int], most: int
) -> None:
    groups = [group async for group in grouped(each(counts), most, lambda count: count)]
    assert [count for group in groups for count in group] == counts
    assert all(1 <= len(group) <= most and sum(group) <= 20_000 for group in groups)
    for group, following in pairwise(groups):
        assert len(group) == most or sum(group) + following[0] > 20_000


async def test_a_full_group_does_not_wait_for_the_next_order() -> None:
    async def endless() -> AsyncIterator[int]:
        yield 1
        yield 1
        await asyncio.Event().wait()

    async with aclosing(grouped(endless(), 2, lambda count: count)) as groups:
        assert await anext(groups) == [1, 1]


def test_an_order_weighs_its_lines_and_any_other_request_one() -> None:
    cancel = wire.Message(wire.CANCEL_ORDER, "x", {"order_id": "x"})
    assert [lines(an_order(line_count=7)), lines(cancel)] == [7, 1]


payloads = st.lists(
    st.builds(lambda key, quantity: an_order(UUID(int=key), 1, quantity).payload, st.integers(0, 3), st.integers(1, 2)),
    min_size=1,
    max_size=4,
)  # fmt: skip


@given(payloads, payloads)
def test_bulk_jobs_have_the_same_id_only_where_they_have_the_same_orders(
    first: list[Any], second: list[Any]
) -> None:
    ids = [wire.bulk(each).job_id for each in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)
    assert all(job_id.startswith("bulk:") and len(job_id) == len("bulk:") + 32 for job_id in ids)


async def test_a_call_alone_is_a_job_under_its_own_id(trips: RoundTrips, sender: Sender) -> None:
    trips.go.set()
    order = an_order()
    assert await sender.send(order, alone=False) == (order.job_id, None, False)
    assert trips.jobs == [[order]]


async def test_calls_that_arrive_during_a_round_trip_go_together_in_the_next(
    trips: RoundTrips, sender: Sender
) -> None:
    first = calling(sender, an_order())
    await trips.begun.wait()
    orders = [an_order() for _ in range(250)]
    others = calling(sender, *orders)
    cancel = calling(sender, wire.Message(wire.CANCEL_ORDER, "a cancellation", {}), alone=True)
    await asyncio.sleep(0)
    trips.go.set()
    sent = await asyncio.gather(*first, *others, *cancel)
    assert trips.shapes() == [
        [("place_order", 1)],
        [("cancel_order", 1), ("place_orders", 100), ("place_orders", 100), ("place_orders", 50)],
    ]
    jobs = {job.job_id: job for job in trips.jobs[1]}
    assert [jobs[where.job_id].payload[where.position] for where in sent[1:-1]] == [
        order.payload for order in orders
    ]
    assert sent[-1] == ("a cancellation", None, False)


async def test_a_round_trip_has_at_most_a_thousand_calls_and_20000_lines(
    trips: RoundTrips, sender: Sender
) -> None:
    trips.go.set()
    await asyncio.gather(*calling(sender, *(an_order() for _ in range(1001))))
    assert trips.shapes() == [[("place_orders", 100)] * 10, [("place_order", 1)]]
    trips.jobs.clear()
    await asyncio.gather(*calling(sender, *(an_order(line_count=500) for _ in range(50))))
    assert trips.shapes() == [[("place_orders", 40)], [("place_orders", 10)]]


async def test_an_order_that_two_callers_send_goes_once_and_is_known_to_the_second(
    trips: RoundTrips, sender: Sender
) -> None:
    trips.go.set()
    order = an_order()
    sent = await asyncio.gather(*calling(sender, order, order))
    assert trips.jobs == [[order]]
    assert sent == [(order.job_id, None, False), (order.job_id, None, True)]
    trips.jobs.clear()
    sent = await asyncio.gather(*calling(sender, order, an_order(), order))
    assert trips.shapes() == [[("place_orders", 2)]]
    assert [where[1:] for where in sent] == [(0, False), (1, False), (0, True)]


async def test_other_content_under_the_same_id_goes_beside_the_first(
    trips: RoundTrips, sender: Sender
) -> None:
    trips.go.set()
    order = an_order()
    other = an_order(UUID(order.job_id), quantity=2)
    sent = await asyncio.gather(*calling(sender, order, other))
    assert trips.jobs[0][0].payload == [order.payload, other.payload]
    assert [where.position for where in sent] == [0, 1]


async def test_a_request_that_asks_to_go_alone_is_joined_to_none(trips: RoundTrips, sender: Sender) -> None:
    trips.go.set()
    orders = [an_order(), an_order()]
    await asyncio.gather(*calling(sender, *orders, alone=True))
    assert trips.jobs == [orders]


async def test_a_call_that_is_cancelled_takes_no_other_along(trips: RoundTrips, sender: Sender) -> None:
    on_its_way = calling(sender, an_order(), an_order())
    await trips.begun.wait()
    waiting = calling(sender, an_order(), an_order(), an_order())
    await asyncio.sleep(0)
    for task in (on_its_way[0], waiting[0]):
        task.cancel()
    trips.go.set()
    results = await asyncio.gather(*on_its_way, *waiting, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert trips.shapes() == [[("place_orders", 2)], [("place_orders", 2)]], "the one that waited did not go"


async def test_where_every_call_is_cancelled_nothing_is_sent(trips: RoundTrips, sender: Sender) -> None:
    (call,) = calling(sender, an_order())
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    await sender.stop()
    assert trips.jobs == []


async def test_an_error_reaches_every_caller_and_the_next_call_goes(
    trips: RoundTrips, sender: Sender
) -> None:
    trips.error = ConnectionError("Redis is down")
    calls = calling(sender, an_order(), an_order(), an_order())
    await trips.begun.wait()
    calls[1].cancel()
    trips.go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(result) for result in results] == ["Redis is down", "", "Redis is down"]
    trips.error = None
    assert not (await sender.send(an_order(), alone=False)).known


async def test_with_linger_seconds_it_waits_for_company(
    trips: RoundTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as it was told to; here that lasts until somebody has come."""
    rests: list[float] = []
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        await over.wait()

    monkeypatch.setattr(sending, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    trips.go.set()
    lingering = Sender(NO_REDIS, linger_seconds=2.0)
    calls = calling(lingering, an_order())
    while not rests:
        await asyncio.sleep(0)
    calls += calling(lingering, an_order())
    await asyncio.sleep(0)
    assert (trips.jobs, rests) == ([], [2.0])
    over.set()
    await asyncio.gather(*calls)
    assert trips.shapes() == [[("place_orders", 2)]]


async def test_who_still_waits_when_it_is_stopped_is_told(trips: RoundTrips, sender: Sender) -> None:
    calls = calling(sender, an_order())
    await trips.begun.wait()
    calls += calling(sender, an_order())
    await asyncio.sleep(0)
    await sender.stop()
    for call in calls:
        with pytest.raises(LockstepError, match="Redis had answered: the request may be in the queue"):
            await call


async def test_who_comes_after_it_is_stopped_is_told(trips: RoundTrips, sender: Sender) -> None:
    await sender.stop()
    with pytest.raises(LockstepError, match="the client is closed: use it inside its `async with`"):
        await sender.send(an_order(), alone=False)
    assert trips.jobs == []


async def test_stopping_what_never_ran_is_nothing(sender: Sender) -> None:
    await sender.stop()
