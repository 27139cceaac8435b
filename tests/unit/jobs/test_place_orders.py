import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from jobs.orders.outcomes import Placed, Rejected
from jobs.orders.place_orders import place_orders
from jobs.orders.requests import Line, PlaceOrder
from jobs.transaction import Row
from tests.unit.jobs.recording import RecordingTransaction

LOCKS = ["lock_customers", "lock_stock"]
CUSTOMERS: list[dict[str, Any]] = [
    {"customer_id": 1, "credit_limit_cents": None, "balance_cents": 0},
    {"customer_id": 2, "credit_limit_cents": 100, "balance_cents": 0},
]
STOCK = [
    {"product_id": 3, "price_cents": 5, "available": 10},
    {"product_id": 9, "price_cents": 50, "available": 10},
]


def order(
    number: int, *lines: tuple[int, int], customer_id: int = 1, placed_at: str | None = None
) -> PlaceOrder:
    return PlaceOrder.model_validate(
        {
            "order_id": UUID(int=number),
            "customer_id": customer_id,
            "lines": [Line(product_id=product_id, quantity=quantity) for product_id, quantity in lines],
            "placed_at": placed_at,
        }
    )


def shop(**rows: Sequence[Row]) -> RecordingTransaction:
    return RecordingTransaction({"lock_customers": CUSTOMERS, "lock_stock": STOCK, **rows})


BATCH = [
    order(7, (9, 1), (3, 2)),
    order(5, (3, 11), customer_id=2),
    order(6, (9, 2), customer_id=2),
    order(4, (3, 3)),
]


async def test_customers_then_stock_are_locked_by_ascending_id_before_anything_is_written() -> None:
    transaction = shop()
    await place_orders(transaction, [order(1, (9, 1), (3, 1), customer_id=2), order(2, (4, 1), (3, 1))])
    assert transaction.statements[:2] == LOCKS
    assert transaction.sent("lock_customers") == {"customer_ids": [1, 2]}
    assert transaction.sent("lock_stock") == {"product_ids": [3, 4, 9]}


async def test_outcomes_come_in_the_order_of_the_orders() -> None:
    assert await place_orders(shop(), BATCH) == [
        Placed(order_id=UUID(int=7), total_cents=60),
        Rejected(order_id=UUID(int=5), reason="insufficient_stock", product_id=3),
        Placed(order_id=UUID(int=6), total_cents=100),
        Placed(order_id=UUID(int=4), total_cents=15),
    ]


async def test_each_kind_of_row_is_written_by_one_statement() -> None:
    transaction = shop()
    await place_orders(transaction, BATCH)
    assert transaction.statements == [
        *LOCKS,
        "insert_orders",
        "insert_order_lines",
        "move_stock",
        "move_balances",
        "insert_events",
    ]


async def test_orders_are_inserted_by_ascending_id_the_rejected_ones_too() -> None:
    transaction = shop()
    await place_orders(transaction, BATCH)
    rows = transaction.sent("insert_orders")["orders"]
    assert [(row["order_id"], row["status"], row["total_cents"]) for row in rows] == [
        (UUID(int=4).hex, "placed", 15),
        (UUID(int=5).hex, "rejected", 0),
        (UUID(int=6).hex, "placed", 100),
        (UUID(int=7).hex, "placed", 60),
    ]
    assert rows[1] == {
        "order_id": UUID(int=5).hex,
        "customer_id": 2,
        "status": "rejected",
        "reason": "insufficient_stock",
        "rejected_product_id": 3,
        "total_cents": 0,
        "fingerprint": BATCH[1].fingerprint,
        "placed_at": None,
    }


async def test_a_placed_order_has_no_reason() -> None:
    transaction = shop()
    await place_orders(transaction, [order(1, (3, 1))])
    (row,) = transaction.sent("insert_orders")["orders"]
    assert (row["reason"], row["rejected_product_id"]) == (None, None)


async def test_the_moment_of_an_order_is_written_in_utc_to_the_microsecond() -> None:
    transaction = shop()
    await place_orders(transaction, [order(1, (3, 1), placed_at="2026-01-02T03:04:05.000007+02:00")])
    (row,) = transaction.sent("insert_orders")["orders"]
    assert row["placed_at"] == "2026-01-02 01:04:05.000007"


async def test_only_placed_orders_have_lines_at_the_price_of_this_moment() -> None:
    transaction = shop()
    await place_orders(transaction, BATCH)
    lines = transaction.sent("insert_order_lines")["lines"]
    assert [tuple(line.values()) for line in lines] == [
        (UUID(int=7).hex, 3, 2, 5),
        (UUID(int=7).hex, 9, 1, 50),
        (UUID(int=6).hex, 9, 2, 50),
        (UUID(int=4).hex, 3, 3, 5),
    ]


async def test_stock_and_balances_move_once_by_product_and_customer() -> None:
    transaction = shop()
    await place_orders(transaction, BATCH)
    assert transaction.sent("move_stock")["moves"] == [
        {"product_id": 3, "quantity": -5},
        {"product_id": 9, "quantity": -3},
    ]
    assert transaction.sent("move_balances")["moves"] == [
        {"customer_id": 1, "amount_cents": 75},
        {"customer_id": 2, "amount_cents": 100},
    ]


async def test_every_outcome_is_one_event_in_the_order_of_the_orders() -> None:
    transaction = shop()
    await place_orders(transaction, BATCH)
    events = transaction.sent("insert_events")["events"]
    assert [(event["order_id"], event["kind"]) for event in events] == [
        (UUID(int=7).hex, "order.placed"),
        (UUID(int=5).hex, "order.rejected"),
        (UUID(int=6).hex, "order.placed"),
        (UUID(int=4).hex, "order.placed"),
    ]
    assert json.loads(events[0]["body"]) == {
        "status": "placed",
        "order_id": str(UUID(int=7)),
        "total_cents": 60,
        "customer_id": 1,
        "lines": [[3, 2, 5], [9, 1, 50]],
    }
    assert json.loads(events[1]["body"]) == {
        "status": "rejected",
        "order_id": str(UUID(int=5)),
        "reason": "insufficient_stock",
        "product_id": 3,
        "customer_id": 2,
    }


async def test_nothing_moves_when_every_order_is_rejected() -> None:
    transaction = shop()
    await place_orders(transaction, [order(1, (3, 11)), order(2, (8, 1))])
    assert transaction.statements == [*LOCKS, "insert_orders", "insert_events"]


async def test_orders_that_were_staged_end_there_as_the_last_thing_of_all() -> None:
    staged = [BATCH[1].order_id, BATCH[0].order_id]
    transaction = shop(free_staged=[{"order_id": order_id.hex} for order_id in staged])
    await place_orders(transaction, BATCH, staged=staged)
    assert transaction.statements[-3:] == ["insert_events", "free_staged", "delete_staged"]
    assert transaction.sent("delete_staged") == {"order_ids": [UUID(int=5).hex, UUID(int=7).hex]}
