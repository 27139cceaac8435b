"""How requests share round trips to Redis, and orders share jobs."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from itertools import accumulate, chain
from typing import Final, NamedTuple, TypeVar

from arq.connections import ArqRedis

from worker.errors import LockstepError
from worker.queue import wire
from worker.queue.background import Background

MOST_ORDERS: Final = 1000  # in one round trip; with 20,000 lines of at most 34 bytes, that is less than 1 MB
MOST_JOINED: Final = 100  # in a job that single calls share
Item = TypeVar("Item")


class Sent(NamedTuple):
    """Where the outcome of a request will be: in this job, and where in its list if it has one."""

    job_id: str
    position: int | None
    known: bool


async def send(redis: ArqRedis, groups: Iterable[Sequence[wire.Message]]) -> list[Sent]:
    """Enqueue in one round trip: a group of several orders as one `place_orders` job, one of one request as it is."""
    joined = [_join(group) for group in groups]
    accepted = await wire.enqueue(redis, [job for job, _ in joined])
    return [
        where if new else where._replace(known=True)
        for (_, places), new in zip(joined, accepted, strict=True)
        for where in places
    ]


def _join(group: Sequence[wire.Message]) -> tuple[wire.Message, list[Sent]]:
    """The job of a group; an order that is in it twice goes once, and is known the second time."""
    packed = [wire.serialize(message.payload) for message in group]
    distinct = dict(zip(packed, group, strict=True))  # in the order of their first places
    positions: dict[bytes, int | None] = dict.fromkeys(packed)
    if len(distinct) == 1:
        job = group[0]
    else:
        traces = [message.traceparent for message in distinct.values()]
        job = wire.bulk([message.payload for message in distinct.values()])
        job = job._replace(traceparent=traces[0] if len(set(traces)) == 1 else traces)
        positions = {key: position for position, key in enumerate(distinct)}
    places = []
    for key in packed:
        places.append(Sent(job.job_id, positions[key], known=key not in distinct))
        distinct.pop(key, None)
    return job, places


async def grouped(
    items: AsyncIterable[Item], most: int, lines: Callable[[Item], int]
) -> AsyncGenerator[list[Item], None]:
    """Groups of at most `most` items, closed before they pass the lines that one job may hold."""
    group: list[Item] = []
    total = 0
    async for item in items:
        if group and total + lines(item) > wire.MAX_BATCH_LINES:
            yield group
            group, total = [], 0
        group.append(item)
        total += lines(item)
        if len(group) == most:
            yield group
            group, total = [], 0
    if group:
        yield group


def lines(message: wire.Message) -> int:
    """How many lines an order has; any other request counts as one."""
    return len(message.payload["lines"]) if message.task == wire.PLACE_ORDER else 1


class _Call(NamedTuple):
    message: wire.Message
    alone: bool
    answer: asyncio.Future[Sent]


class Sender:
    """Requests that arrive while a round trip is under way go together in the next one."""

    def __init__(self, redis: ArqRedis, linger_seconds: float) -> None:
        self._redis = redis
        self._linger_seconds = linger_seconds
        self._calls: list[_Call] = []
        self._background = Background(self._run)

    async def send(self, message: wire.Message, *, alone: bool) -> Sent:
        """Enqueue a request: `alone` as a job of its own, else with the orders that wait at this moment."""
        self._background.wake()
        answer: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self._calls.append(_Call(message, alone, answer))
        return await answer

    async def stop(self) -> None:
        """Whoever still waits gets a LockstepError."""
        await self._background.stop()
        reason = "the client was closed before Redis had answered: the request may be in the queue, or not."
        _fail(self._calls, LockstepError(f"{reason} Send it once more, which changes nothing if it is."))

    async def _run(self) -> None:
        await asyncio.sleep(self._linger_seconds)
        while calls := self._next():
            await self._round_trip(calls)
            del self._calls[: len(calls)]  # not before: `stop` answers those that are still there
            await asyncio.sleep(self._linger_seconds)

    def _next(self) -> list[_Call]:
        """As many calls as fit into a round trip, without those that were cancelled."""
        self._calls = [call for call in self._calls if not call.answer.done()]
        totals = list(accumulate(lines(call.message) for call in self._calls[:MOST_ORDERS]))
        return self._calls[: bisect_right(totals, wire.MAX_BATCH_LINES)]

    async def _round_trip(self, calls: list[_Call]) -> None:
        joined = [call for call in calls if not call.alone]
        groups = [[call] for call in calls if call.alone]
        groups += [joined[start : start + MOST_JOINED] for start in range(0, len(joined), MOST_JOINED)]
        try:
            sent = await send(self._redis, [[call.message for call in group] for group in groups])
        except Exception as error:  # noqa: BLE001  # whoever has called is told
            _fail(calls, error)
        else:
            for call, where in zip(chain.from_iterable(groups), sent, strict=True):
                if not call.answer.done():
                    call.answer.set_result(where)


def _fail(calls: Iterable[_Call], error: Exception) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
