"""Group commit: the orders that wait at this moment share one transaction.

There is no timer. While one transaction runs, the next batch gathers: an order alone starts at once, and of a
thousand each few hundred cost one commit.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Final
from uuid import UUID

import structlog

from jobs.orders import PlaceOrder, PlaceOutcome
from jobs.place_orders import find_free
from worker import metrics, tracing
from worker.database.retry import DatabaseError, Kind
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.idempotency import place_once

logger = structlog.get_logger()

IN_FLIGHT: Final = 1  # batches at a time: two would share the orders, and wait for each other's rows
MAX_BATCH: Final = (
    300  # orders, which take some 50 ms: more gain little, and keep their rows locked for longer
)
# Orders, and their lines, of one job in a batch: a big job leaves room for the small ones.
MAX_SHARE: Final = 100
MAX_SHARE_LINES: Final = wire.MAX_BATCH_LINES // 5

Results = list[PlaceOutcome | Exception]
Traceparents = Mapping[UUID, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """Orders of one job that go into the same batch; their results, when somebody still waits for them."""

    orders: Sequence[PlaceOrder]
    lines: int
    results: asyncio.Future[Results]
    traceparent: str | None

    def answer(self, results: Results) -> None:
        if not self.results.done():
            self.results.set_result(results)


class GroupCommit:
    """Places the orders of concurrent jobs together."""

    def __init__(self, database: Database, *, batch_seconds: float) -> None:
        """`batch_seconds`: a transaction, behind which others wait, makes no new attempt after these."""
        self._database = database
        self._batch_seconds = batch_seconds
        self._waiting: list[_Share] = []
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def place_each(self, orders: Sequence[PlaceOrder]) -> Results:
        """One outcome an order, or what went wrong with it, in the order of the arguments.

        The caller may be cancelled: its orders that are in no transaction yet are left out, and nobody else notices.
        """
        loop = asyncio.get_running_loop()
        traceparent = tracing.current()
        shares = [_Share(*page, loop.create_future(), traceparent) for page in _pages(orders)]
        self._waiting += shares
        # After all that come in this moment. A batch is in the context of none of those that it serves.
        loop.call_soon(self._start, context=Context())
        pages = await asyncio.gather(*(share.results for share in shares))
        return [*chain.from_iterable(pages)]

    async def place(self, orders: Sequence[PlaceOrder]) -> list[PlaceOutcome]:
        """The same, but raises what one of these orders raises also by itself (the others are placed), or an outage."""
        return _outcomes(await self.place_each(orders))

    async def close(self) -> None:
        """Wait for the batches that run."""
        await asyncio.gather(*self._tasks)

    def _start(self) -> None:
        while self._in_flight < IN_FLIGHT and (batch := self._next_batch()):
            self._in_flight += 1
            task = asyncio.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next_batch(self) -> list[_Share]:
        """The oldest share, so that none is passed over for ever, and the smallest of the others that have room."""
        waiting = [share for share in self._waiting if not share.results.done()]
        others = sorted(waiting[1:], key=lambda share: len(share.orders))
        batch: list[_Share] = []
        orders = lines = 0
        for share in waiting[:1] + others:
            orders, lines = orders + len(share.orders), lines + share.lines
            if batch and (orders > MAX_BATCH or lines > wire.MAX_BATCH_LINES):
                break
            batch.append(share)
        taken = set(batch)
        self._waiting = [share for share in waiting if share not in taken]
        return batch

    async def _run(self, batch: Sequence[_Share]) -> None:
        orders = [order for share in batch for order in share.orders]
        metrics.BATCH_ORDERS.observe(len(orders))
        traceparents = {
            order.order_id: share.traceparent
            for share in batch
            if share.traceparent
            for order in share.orders
        }
        links = dict.fromkeys(traceparents.values())
        with tracing.span("group commit", "INTERNAL", links=links, orders=len(orders)):
            results = iter(await self._place(orders, traceparents))
        for share in batch:
            share.answer(list(islice(results, len(share.orders))))
        self._in_flight -= 1
        self._start()

    async def _place(self, orders: Sequence[PlaceOrder], traceparents: Traceparents) -> Results:
        """Together, if they can be: else without those that cannot."""
        try:
            placed = place_once(
                self._database,
                orders,
                job=wire.PLACE_ORDERS,
                attempts_seconds=self._batch_seconds,
                traceparents=traceparents,
            )
            return [*await placed]
        except Exception as error:  # noqa: BLE001  # it is raised to the jobs whose orders it concerns
            kind = error.kind if isinstance(error, DatabaseError) else Kind.BUG
            if len(orders) == 1 or kind is Kind.OUTAGE:
                return [error] * len(orders)
            logger.warning("batch fails", orders=len(orders), error=f"{type(error).__name__}: {error}")
            if kind is Kind.CONFLICT:
                return await self._place_free(orders, traceparents, error)
            half = len(orders) // 2
            return [
                *await self._place(orders[:half], traceparents),
                *await self._place(orders[half:], traceparents),
            ]

    async def _place_free(
        self, orders: Sequence[PlaceOrder], traceparents: Traceparents, conflict: Exception
    ) -> Results:
        """Only those for which nobody holds a row: the others are for a later try."""
        try:
            free = await self._database.transact(
                partial(find_free, orders=orders), job="find_free", attempts_seconds=self._batch_seconds
            )
        except DatabaseError as error:
            return [error] * len(orders)
        if all(free):  # it is no row of theirs, or it is free by now
            return [conflict] * len(orders)
        free_orders = [order for order, is_free in zip(orders, free, strict=True) if is_free]
        placed = iter(await self._place(free_orders, traceparents))
        return [next(placed) if is_free else conflict for is_free in free]


def _outcomes(results: Results) -> list[PlaceOutcome]:
    outcomes = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        outcomes.append(result)
    return outcomes


def _pages(orders: Sequence[PlaceOrder]) -> Iterator[tuple[list[PlaceOrder], int]]:
    """Shares of a job, and how many lines each has."""
    page: list[PlaceOrder] = []
    lines = 0
    for order in orders:
        if page and (len(page) == MAX_SHARE or lines + len(order.lines) > MAX_SHARE_LINES):
            yield page, lines
            page, lines = [], 0
        page.append(order)
        lines += len(order.lines)
    if page:
        yield page, lines
