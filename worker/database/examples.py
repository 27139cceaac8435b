"""Parameters for every statement of `sql/`, to see its plan with: each name has one meaning in all statements."""

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = f"{1:032x}"
EXAMPLES: Final[Mapping[str, Any]] = {
    # ids
    "customer_id": 1,
    "customer_ids": [1, 2],
    "product_id": 1,
    "product_ids": [1, 2],
    "order_id": _ID,
    "order_ids": [_ID],
    "review_id": _ID,
    "restock_id": _ID,
    "event_ids": [1],
    "job_id": _ID,
    "job_ids": [_ID],
    "fingerprint": _ID,
    # pages
    "after": f"{7:032x}",
    "last": f"{9:032x}",
    "before": "9999-12-31",
    "before_id": "f" * 32,
    "size": 10,
    "overdue_seconds": 60,
    # rows
    "orders": [(_ID, 1, "placed", None, None, 5, _ID, None)],
    "lines": [(_ID, [(1, 2, 3)])],
    "moves": [(1, 1)],
    "products": [{"product_id": 1, "name": "x", "price_cents": 1, "available": 1, "restock_id": _ID}],
    "customers": [{"customer_id": 1, "name": "x"}],
    "events": [(_ID, "order.placed", "{}")],
    "counts": [("order.placed", 1)],
    "sold": [{"product_id": 1, "quantity": 1}],
    "owed": [{"customer_id": 1, "total_cents": 1}],
    # values
    "quantity": 1,
    "status": "shipped",
    "rating": 5,
    "body": "x",
    "job": "place_order",
    "request": "{}",
    "error": "",
    "tries": 1,
    "enqueued_at": None,
    "buried_at": "2020-01-01",
    "name": "x",
    "key_hash": "00" * 32,
    "day": "2020-01-01",
}
