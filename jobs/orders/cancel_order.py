"""Cancel an order: its stock and its amount go back, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from jobs.orders.known_orders import KnownOrder, find_placed_order
from jobs.orders.locks import lock_customers, lock_order, lock_stock
from jobs.orders.outcomes import AlreadyShipped, Cancelled, NotFound, Rejected
from jobs.outbox import Event, record_events
from jobs.transaction import Reader, Row, Transaction, load_statements

_ORDERS = load_statements("orders/orders.sql")
_MOVE_STOCK = load_statements("orders/stock.sql")["move_stock"]
_MOVE_BALANCES = load_statements("orders/customers.sql")["move_balances"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What an order took. None of it ever changes, so it is read before the transaction."""

    order: KnownOrder
    lines: Sequence[Row]


async def read_taken(reader: Reader, order_id: UUID) -> Taken | NotFound | Rejected:
    """What `cancel_order` has to lock, or the outcome where there is nothing to cancel."""
    order = await find_placed_order(reader, order_id)
    if not isinstance(order, KnownOrder):
        return order
    return Taken(order, await reader.fetch(_ORDERS["lines_of_order"], {"order_id": order_id.hex}))


async def cancel_order(
    transaction: Transaction, taken: Taken, *, traceparent: str | None = None
) -> Cancelled | AlreadyShipped | NotFound:
    """Give back what the order took, unless it is shipped, cancelled before, or purged. May run again."""
    order_id = taken.order.order_id
    await lock_customers(transaction, [taken.order.customer_id])
    await lock_stock(transaction, (line["product_id"] for line in taken.lines))
    status = await lock_order(transaction, order_id)
    if status is None:
        return NotFound(order_id=order_id)
    if status == "shipped":
        return AlreadyShipped(order_id=order_id)
    outcome = Cancelled(order_id=order_id)
    if status == "placed":
        lines = [(line["product_id"], line["quantity"]) for line in taken.lines]
        await _give_back(transaction, taken.order, lines)
        body = outcome.model_dump(mode="json") | {"lines": lines}
        await record_events(transaction, [Event(order_id, "order.cancelled", body, traceparent)])
    return outcome


async def _give_back(transaction: Transaction, order: KnownOrder, lines: list[tuple[int, int]]) -> None:
    cancelled = {"order_id": order.order_id.hex, "status": "cancelled"}
    await transaction.execute(_ORDERS["set_order_status"], cancelled)
    await transaction.execute(_MOVE_STOCK, {"moves": lines})
    await transaction.execute(_MOVE_BALANCES, {"moves": [(order.customer_id, -order.total_cents)]})
