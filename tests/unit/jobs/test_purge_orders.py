from typing import Any
from uuid import UUID

from jobs.orders.pages import Page
from jobs.orders.purge_orders import OldOrders, Purged, find_old_orders, purge_orders
from tests.unit.jobs.recording import RecordingTransaction

IDS = [UUID(int=number) for number in (1, 2, 3, 4)]
HEX = [order_id.hex for order_id in IDS]


def row(number: int, status: str, customer_id: int = 7) -> dict[str, object]:
    return {"order_id": HEX[number], "customer_id": customer_id, "status": status, "total_cents": 100}


async def test_only_finished_orders_may_go() -> None:
    statuses = ("shipped", "placed", "cancelled", "rejected")
    rows = [{"order_id": order_id, "status": status} for order_id, status in zip(HEX, statuses, strict=True)]
    reader = RecordingTransaction({"old_orders": rows})
    old = await find_old_orders(reader, Page("a", "b", 4), "2020-01-01")
    assert old == OldOrders([IDS[0], IDS[2], IDS[3]], kept=1)
    assert reader.sent("old_orders") == {"after": "a", "last": "b", "before": "2020-01-01"}


async def test_what_shipped_orders_took_and_came_to_is_kept() -> None:
    transaction = RecordingTransaction(
        {
            "lock_orders": [
                row(0, "shipped", 9), row(1, "cancelled"), row(2, "shipped"), row(3, "shipped", 9)
            ],
            "sold_by_orders": [{"product_id": 5, "quantity": 2}, {"product_id": 4, "quantity": 1}],
            "orders_with_events": [],
            "orders_with_letters": [],
        },
        changed=6,
    )  # fmt: skip
    assert await purge_orders(transaction, reversed(IDS)) == Purged(orders=4, lines=6)
    assert transaction.statements == [
        "lock_orders",
        "orders_with_events",
        "orders_with_letters",
        "sold_by_orders",
        "add_purged_totals",
        "add_purged_sales",
        "delete_order_lines",
        "delete_orders",
        "add_published_events",
    ]
    assert transaction.sent("lock_orders") == {"order_ids": HEX}
    assert transaction.sent("sold_by_orders") == {"order_ids": [HEX[0], HEX[2], HEX[3]]}
    assert transaction.sent("add_purged_totals")["owed"] == [
        {"customer_id": 7, "total_cents": 100},
        {"customer_id": 9, "total_cents": 200},
    ]
    assert [sold["product_id"] for sold in transaction.sent("add_purged_sales")["sold"]] == [4, 5]
    assert transaction.sent("delete_orders") == {"order_ids": HEX}
    assert transaction.sent("add_published_events")["counts"] == [
        {"kind": "order.cancelled", "events": -1},
        {"kind": "order.placed", "events": -4},
        {"kind": "order.shipped", "events": -3},
    ]


async def test_orders_with_events_or_dead_letters_are_left_for_later() -> None:
    transaction = RecordingTransaction(
        {
            "lock_orders": [row(0, "rejected"), *(row(number, "cancelled") for number in (1, 2, 3))],
            "orders_with_events": [{"order_id": HEX[1]}, {"order_id": HEX[2]}],
            "orders_with_letters": [{"job_id": str(IDS[2])}, {"job_id": str(IDS[3])}],
            "sold_by_orders": [],
        }
    )
    assert await purge_orders(transaction, IDS[:4]) == Purged(orders=1, unpublished=2, buried=1)
    assert transaction.sent("orders_with_letters") == {"job_ids": [str(order_id) for order_id in IDS[:4]]}
    assert transaction.sent("delete_orders") == {"order_ids": HEX[:1]}
    assert transaction.sent("add_published_events")["counts"] == [{"kind": "order.rejected", "events": -1}]


async def test_orders_that_are_live_or_gone_are_passed_over() -> None:
    nothing: dict[str, list[dict[str, Any]]] = {"orders_with_events": [], "orders_with_letters": []}
    transaction = RecordingTransaction({"lock_orders": [row(0, "placed")], **nothing})
    assert await purge_orders(transaction, IDS) == Purged()
    assert transaction.statements == ["lock_orders", *nothing]


def test_what_was_purged_is_counted_up() -> None:
    purged = Purged(1, 2, 3, 4, 5)
    purged += Purged(10, 20, 30, 40, 50)
    assert purged == Purged(11, 22, 33, 44, 55)
