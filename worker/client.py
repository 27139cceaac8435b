"""What other services import: place, cancel and ship orders, restock, and wait for the outcomes.

Needs Redis alone: no settings are read, and no database driver is imported.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

from arq.connections import ArqRedis
from arq.constants import default_queue_name

from jobs.intake import stage
from jobs.orders.requests import MAX_ORDERS, CancelOrder, Line, PlaceOrder, Restock, ShipOrder
from worker import tracing
from worker.errors import LockstepError
from worker.queue import wire
from worker.queue.connection import open_queue
from worker.queue.results import POLL_SECONDS, Results
from worker.queue.sending import MOST_ORDERS, Sender, Sent, grouped, send
from worker.receipts import Receipt

__all__ = ["CancelOrder", "Line", "OrderClient", "PlaceOrder", "Receipt", "Restock", "ShipOrder", "stage"]

# The queue has not said that it has a request: one that is staged is accepted all the same.
_UNSENT = (*wire.QUEUE_ERRORS, LockstepError)
Commit = Callable[
    [str, dict[str, Any]], Awaitable[None]
]  # runs one statement with its parameters, and commits


class OrderClient:
    """Sends requests to the workers."""

    def __init__(
        self,
        redis: ArqRedis,
        *,
        max_queued: int,
        linger_seconds: float = 0.0,
        stage_with: Commit | None = None,
    ) -> None:
        self._redis = redis
        self._commit = stage_with
        self._max_queued = max_queued
        self._sender = Sender(redis, linger_seconds)
        self._results = Results(redis)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        redis_url: str,
        *,
        queue_name: str = default_queue_name,
        max_queued: int = 100_000,
        linger_seconds: float = 0.0,
        stage_with: Commit | None = None,
    ) -> "AsyncIterator[OrderClient]":
        """A client on its own connections.

        `place_many` waits while `max_queued` orders are in the queue. `place` waits `linger_seconds` for more
        orders to share its job. With `stage_with` both stage orders in the database first: Redis cannot lose them.
        Raises LockstepError where Redis does not answer.
        """
        redis = await open_queue(redis_url, queue_name)
        client = cls(redis, max_queued=max_queued, linger_seconds=linger_seconds, stage_with=stage_with)
        try:
            yield client
        finally:
            await client.stop()
            await redis.aclose()

    async def stop(self) -> None:
        """End what runs in the background, as `connect` does at its end; the connections stay open."""
        await self._sender.stop()
        await self._results.stop()

    async def place(self, order: PlaceOrder) -> Receipt:
        """Enqueue an order. Do it again as often as you like: its id gets one outcome.

        Calls that wait for Redis at the same time share one round trip, and a job of up to 100 orders. An order that
        is staged is accepted also while Redis is away: a worker enqueues it later.
        """
        with tracing.span(f"send {wire.PLACE_ORDER}", "PRODUCER", order_id=str(order.order_id)):
            message = wire.placing(order)
            await self._stage([order])
            try:
                return await self._ask(message, alone=False)
            except _UNSENT:
                if self._commit is None:
                    raise
                return Receipt(message, Sent(message.job_id, None, known=False), self._sender, self._results)

    async def place_many(
        self, orders: Iterable[PlaceOrder] | AsyncIterable[PlaceOrder], *, chunk: int = 100
    ) -> AsyncIterator[Receipt]:
        """Enqueue orders by the thousand, as jobs of `chunk` orders (1 to 500); a receipt for each, in order.

        It waits while the queue is full, and counts each job there as `chunk` orders: ZCARD cannot tell more.
        """
        if not 1 <= chunk <= MAX_ORDERS:
            raise ValueError(f"chunk must be from 1 to {MAX_ORDERS}, not {chunk}")
        groups = grouped(_each(orders), chunk, _lines)
        most_jobs = max(1, min(MOST_ORDERS, self._max_queued) // chunk)
        async for trip in grouped(groups, most_jobs, lambda group: sum(map(_lines, group))):
            while await self.queued() * chunk >= self._max_queued:
                await asyncio.sleep(POLL_SECONDS)
            for receipt in await self._place_trip(trip):
                yield receipt

    async def cancel(self, order_id: UUID) -> Receipt:
        """Enqueue the cancellation of an order."""
        return await self._request(wire.CANCEL_ORDER, CancelOrder(order_id=order_id))

    async def ship(self, order_id: UUID) -> Receipt:
        """Enqueue the shipping of an order."""
        return await self._request(wire.SHIP_ORDER, ShipOrder(order_id=order_id))

    async def restock(self, request: Restock) -> Receipt:
        """Enqueue new stock. Do it again as often as you like: its id counts once."""
        return await self._request(wire.RESTOCK, request)

    async def queued(self) -> int:
        """How many jobs wait or run."""
        return int(await self._redis.zcard(self._redis.default_queue_name))

    async def _stage(self, orders: Iterable[PlaceOrder]) -> None:
        if self._commit is not None:
            await self._commit(*stage(orders, at_once=True))

    async def _place_trip(self, trip: Sequence[Sequence[PlaceOrder]]) -> list[Receipt]:
        """Jobs of one round trip."""
        with tracing.span(f"send {wire.PLACE_ORDERS}", "PRODUCER", jobs=len(trip)):
            await self._stage(chain.from_iterable(trip))
            jobs = [[wire.placing(order) for order in group] for group in trip]
            messages = list(chain.from_iterable(jobs))
            try:
                sent = await send(self._redis, jobs)
            except _UNSENT:
                if self._commit is None:
                    raise
                sent = [Sent(message.job_id, None, known=False) for message in messages]
        places = zip(messages, sent, strict=True)
        return [Receipt(message, where, self._sender, self._results) for message, where in places]

    async def _request(self, task: str, request: CancelOrder | ShipOrder | Restock) -> Receipt:
        with tracing.span(f"send {task}", "PRODUCER"):
            # A job id of its own: what was asked before may have another answer now.
            content = request.model_dump(mode="json")
            return await self._ask(wire.Message(task, uuid4().hex, content, tracing.current()))

    async def _ask(self, message: wire.Message, *, alone: bool = True) -> Receipt:
        sent = await self._sender.send(message, alone=alone)
        return Receipt(message, sent, self._sender, self._results)


def _lines(order: PlaceOrder) -> int:
    return len(order.lines)


async def _each(orders: Iterable[PlaceOrder] | AsyncIterable[PlaceOrder]) -> AsyncIterator[PlaceOrder]:
    if isinstance(orders, AsyncIterable):
        async for order in orders:
            yield order
    else:
        for order in orders:
            yield order
