import json
from uuid import UUID

from jobs.orders.known_orders import KnownOrder
from jobs.orders.outcomes import AlreadyCancelled, NotFound, Shipped
from jobs.orders.ship_order import ship_order
from tests.unit.jobs.recording import RecordingTransaction

ORDER_ID = UUID(int=1)
ORDER = KnownOrder(
    order_id=ORDER_ID,
    customer_id=4,
    status="placed",
    reason=None,
    rejected_product_id=None,
    total_cents=700,
    fingerprint="ab" * 16,
)


def transaction_that_finds(status: str) -> RecordingTransaction:
    return RecordingTransaction({"lock_order": [{"status": status}]})


async def test_shipping_locks_the_order_changes_its_status_and_records_it() -> None:
    transaction = transaction_that_finds("placed")
    assert await ship_order(transaction, ORDER) == Shipped(order_id=ORDER_ID)
    assert transaction.statements == ["lock_order", "set_order_status", "insert_events"]
    assert transaction.sent("set_order_status") == {"order_id": ORDER_ID.hex, "status": "shipped"}
    (event,) = transaction.sent("insert_events")["events"]
    assert (event["order_id"], event["kind"]) == (ORDER_ID.hex, "order.shipped")
    assert json.loads(event["body"]) == {"status": "shipped", "order_id": str(ORDER_ID)}


async def test_a_shipped_order_is_shipped_again_without_a_change() -> None:
    transaction = transaction_that_finds("shipped")
    assert await ship_order(transaction, ORDER) == Shipped(order_id=ORDER_ID)
    assert transaction.statements == ["lock_order"]


async def test_a_cancelled_order_cannot_be_shipped() -> None:
    transaction = transaction_that_finds("cancelled")
    assert await ship_order(transaction, ORDER) == AlreadyCancelled(order_id=ORDER_ID)
    assert transaction.statements == ["lock_order"]


async def test_the_locked_status_counts_and_not_the_one_that_was_read_before() -> None:
    stale = KnownOrder(**{**{name: getattr(ORDER, name) for name in ORDER.__slots__}, "status": "cancelled"})
    assert await ship_order(transaction_that_finds("placed"), stale) == Shipped(order_id=ORDER_ID)


async def test_an_order_that_was_purged_since_is_not_found() -> None:
    transaction = RecordingTransaction({"lock_order": []})
    assert await ship_order(transaction, ORDER) == NotFound(order_id=ORDER_ID)
    assert transaction.statements == ["lock_order"]
