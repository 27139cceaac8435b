"""The batch function of orders."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from jobs.orders.outcomes import PlaceOutcome
from jobs.orders.place_orders import find_free
from jobs.orders.requests import PlaceOrder
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.group_commit import Traceparents
from worker.queue.idempotency import place_once


class Placing:
    """Places orders together."""

    most_weight = wire.MAX_BATCH_LINES

    def __init__(self, database: Database, *, batch_seconds: float) -> None:
        """`batch_seconds`: a transaction, behind which others wait, makes no new attempt after these."""
        self._database = database
        self._batch_seconds = batch_seconds

    def key(self, order: PlaceOrder) -> UUID:
        """Its id."""
        return order.order_id

    def weight(self, order: PlaceOrder) -> int:
        """Its lines."""
        return len(order.lines)

    async def run(self, orders: Sequence[PlaceOrder], traceparents: Traceparents) -> Sequence[PlaceOutcome]:
        """An outcome per order."""
        return await place_once(
            self._database,
            orders,
            job=wire.PLACE_ORDERS,
            attempts_seconds=self._batch_seconds,
            traceparents=traceparents,
        )

    async def find_free(self, orders: Sequence[PlaceOrder]) -> Sequence[bool]:
        """Of each, whether no other transaction holds one of its rows now."""
        return await self._database.transact(
            partial(find_free, orders=orders), job="find_free", attempts_seconds=self._batch_seconds
        )
