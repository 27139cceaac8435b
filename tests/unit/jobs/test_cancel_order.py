import json
from uuid import UUID

from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.known_orders import KnownOrder
from jobs.orders.outcomes import AlreadyShipped, Cancelled, NotFound, Rejected
from tests.unit.jobs.recording import RecordingTransaction

ORDER_ID = UUID(int=1)
LOCKS = ["lock_customers", "lock_stock", "lock_order"]
LINES = [{"product_id": 9, "quantity": 1}, {"product_id": 3, "quantity": 2}]
ORDER = KnownOrder(
    order_id=ORDER_ID,
    customer_id=4,
    status="placed",
    reason=None,
    rejected_product_id=None,
    total_cents=700,
    fingerprint="ab" * 16,
)
ROW = {
    "order_id": ORDER_ID.hex,
    "customer_id": 4,
    "status": "placed",
    "reason": None,
    "rejected_product_id": None,
    "total_cents": 700,
    "fingerprint": "ab" * 16,
}


def transaction_that_finds(status: str) -> RecordingTransaction:
    return RecordingTransaction({"lock_customers": [], "lock_stock": [], "lock_order": [{"status": status}]})


async def test_what_an_order_took_is_read_before_the_transaction() -> None:
    reader = RecordingTransaction({"known_orders": [ROW], "lines_of_order": LINES})
    assert await read_taken(reader, ORDER_ID) == Taken(ORDER, LINES)
    assert reader.sent("lines_of_order") == {"order_id": ORDER_ID.hex}


async def test_an_order_without_an_outcome_has_taken_nothing() -> None:
    reader = RecordingTransaction({"known_orders": []})
    assert await read_taken(reader, ORDER_ID) == NotFound(order_id=ORDER_ID)


async def test_a_rejected_order_has_taken_nothing() -> None:
    rejected = {**ROW, "status": "rejected", "reason": "credit_limit", "total_cents": 0}
    reader = RecordingTransaction({"known_orders": [rejected]})
    assert await read_taken(reader, ORDER_ID) == Rejected(order_id=ORDER_ID, reason="credit_limit")


async def test_customer_stock_and_order_are_locked_in_this_order_before_anything_is_written() -> None:
    transaction = transaction_that_finds("placed")
    await cancel_order(transaction, Taken(ORDER, LINES))
    assert transaction.statements[:3] == LOCKS
    assert transaction.sent("lock_customers") == {"customer_ids": [4]}
    assert transaction.sent("lock_stock") == {"product_ids": [3, 9]}
    assert transaction.sent("lock_order") == {"order_id": ORDER_ID.hex}


async def test_cancelling_gives_back_stock_and_amount_and_records_it() -> None:
    transaction = transaction_that_finds("placed")
    outcome = await cancel_order(transaction, Taken(ORDER, LINES))
    assert outcome == Cancelled(order_id=ORDER_ID)
    assert transaction.statements[3:] == ["set_order_status", "move_stock", "move_balances", "insert_events"]
    assert transaction.sent("set_order_status") == {"order_id": ORDER_ID.hex, "status": "cancelled"}
    assert transaction.sent("move_stock") == {"moves": LINES}
    assert transaction.sent("move_balances") == {"moves": [{"customer_id": 4, "amount_cents": -700}]}
    (event,) = transaction.sent("insert_events")["events"]
    assert (event["order_id"], event["kind"]) == (ORDER_ID.hex, "order.cancelled")
    assert json.loads(event["body"]) == {
        "status": "cancelled",
        "order_id": str(ORDER_ID),
        "lines": [[9, 1], [3, 2]],
    }


async def test_a_cancelled_order_is_cancelled_again_without_a_change() -> None:
    transaction = transaction_that_finds("cancelled")
    assert await cancel_order(transaction, Taken(ORDER, LINES)) == Cancelled(order_id=ORDER_ID)
    assert transaction.statements == LOCKS


async def test_a_shipped_order_cannot_be_cancelled() -> None:
    transaction = transaction_that_finds("shipped")
    assert await cancel_order(transaction, Taken(ORDER, LINES)) == AlreadyShipped(order_id=ORDER_ID)
    assert transaction.statements == LOCKS


async def test_an_order_that_was_purged_since_is_not_found() -> None:
    transaction = RecordingTransaction({"lock_customers": [], "lock_stock": [], "lock_order": []})
    assert await cancel_order(transaction, Taken(ORDER, LINES)) == NotFound(order_id=ORDER_ID)
    assert transaction.statements == LOCKS
