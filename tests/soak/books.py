"""What the database holds at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from jobs.orders.known_orders import KnownOrder
from jobs.transaction import Reader, Statement

_ORDERS: Final = Statement(
    "all_orders",
    "SELECT LOWER(HEX(order_id)) AS order_id, customer_id, status, reason, rejected_product_id, total_cents,"
    " LOWER(HEX(fingerprint)) AS fingerprint FROM orders",
)
_RESTOCKS: Final = Statement(
    "all_restocks", "SELECT LOWER(HEX(restock_id)) AS restock_id, product_id, quantity FROM restocks"
)
_STOCK: Final = Statement("all_stock", "SELECT product_id, available FROM stock")


@dataclass(frozen=True, slots=True)
class Books:
    """Orders and restocks (product and quantity) by id, and what is available by product."""

    orders: Mapping[UUID, KnownOrder]
    restocks: Mapping[UUID, tuple[int, int]]
    available: Mapping[int, int]


async def read_books(reader: Reader) -> Books:
    """All of it; in one transaction it is one snapshot."""
    orders = [
        KnownOrder(**{**row, "order_id": UUID(row["order_id"])}) for row in await reader.fetch(_ORDERS, {})
    ]
    return Books(
        {order.order_id: order for order in orders},
        {
            UUID(row["restock_id"]): (row["product_id"], row["quantity"])
            for row in await reader.fetch(_RESTOCKS, {})
        },
        {row["product_id"]: row["available"] for row in await reader.fetch(_STOCK, {})},
    )
