"""Ship an order: from then on it cannot be cancelled."""

from jobs.orders.known_orders import KnownOrder
from jobs.orders.locks import lock_order
from jobs.orders.outcomes import AlreadyCancelled, NotFound, Shipped
from jobs.outbox import Event, record_events
from jobs.transaction import Transaction, load_statements

_SET_ORDER_STATUS = load_statements("orders/orders.sql")["set_order_status"]


async def ship_order(
    transaction: Transaction, order: KnownOrder, *, traceparent: str | None = None
) -> Shipped | AlreadyCancelled | NotFound:
    """Mark the order as shipped, unless it is cancelled, shipped before, or purged. May run again."""
    status = await lock_order(transaction, order.order_id)
    if status is None:
        return NotFound(order_id=order.order_id)
    if status == "cancelled":
        return AlreadyCancelled(order_id=order.order_id)
    outcome = Shipped(order_id=order.order_id)
    if status == "placed":
        shipped = {"order_id": order.order_id.hex, "status": "shipped"}
        await transaction.execute(_SET_ORDER_STATUS, shipped)
        event = Event(order.order_id, "order.shipped", outcome.model_dump(mode="json"), traceparent)
        await record_events(transaction, [event])
    return outcome
