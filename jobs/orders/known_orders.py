"""Orders that have an outcome: snapshot reads of what never changes, made before a transaction."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from jobs.contract import Conflict
from jobs.orders.outcomes import Cancelled, NotFound, Placed, PlaceOutcome, Reason, Rejected, Shipped
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Reader, load_statements

_KNOWN_ORDERS = load_statements("orders/orders.sql")["known_orders"]


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """A row of `orders`. Only `status` ever changes, and `rejected` is final."""

    order_id: UUID
    customer_id: int
    status: str
    reason: Reason | None
    rejected_product_id: int | None
    total_cents: int
    fingerprint: str

    def first_outcome(self) -> Placed | Rejected:
        """What placing it said, whatever has happened to it since."""
        if self.reason is not None:
            return Rejected(order_id=self.order_id, reason=self.reason, product_id=self.rejected_product_id)
        return Placed(order_id=self.order_id, total_cents=self.total_cents)

    def standing_outcome(self) -> Placed | Rejected | Cancelled | Shipped:
        """What it is now."""
        if self.status == "cancelled":
            return Cancelled(order_id=self.order_id)
        if self.status == "shipped":
            return Shipped(order_id=self.order_id)
        return self.first_outcome()


async def find_orders(reader: Reader, order_ids: Iterable[UUID]) -> dict[UUID, KnownOrder]:
    """Those of these orders that have an outcome, by id."""
    rows = await reader.fetch(_KNOWN_ORDERS, {"order_ids": sorted(order_id.hex for order_id in order_ids)})
    orders = (KnownOrder(**{**row, "order_id": UUID(row["order_id"])}) for row in rows)
    return {order.order_id: order for order in orders}


async def find_placed_order(reader: Reader, order_id: UUID) -> KnownOrder | NotFound | Rejected:
    """The order, or the outcome of asking anything of an order that was never placed."""
    order = (await find_orders(reader, [order_id])).get(order_id)
    if order is None:
        return NotFound(order_id=order_id)
    outcome = order.first_outcome()
    return outcome if isinstance(outcome, Rejected) else order


async def known_outcomes(reader: Reader, orders: Iterable[PlaceOrder]) -> dict[UUID, PlaceOutcome]:
    """The first outcomes of those orders that have one: a conflict where the content is another."""
    asked = {order.order_id: order for order in orders}
    known = await find_orders(reader, asked)
    return {
        order_id: order.first_outcome()
        if order.fingerprint == asked[order_id].fingerprint
        else Conflict(id=order_id)
        for order_id, order in known.items()
    }
