"""Requests about orders and stock."""

import json
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from jobs.contract import Id, Moment, Request

MAX_ORDERS: Final = 500  # in one transaction: bounds its locks and its undo log

MAX_LINES: Final = 500

MAX_QUANTITY: Final = 10_000

MAX_RESTOCK: Final = 1_000_000_000  # fits INT UNSIGNED


class Line(Request):
    """A product and how many of it."""

    product_id: Id
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]


class PlaceOrder(Request):
    """Place an order. `order_id` is made by the caller (UUID version 7 is best) and is its idempotency key."""

    order_id: UUID
    customer_id: Id
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=MAX_LINES)]
    placed_at: Annotated[
        Moment | None,
        Field(description="UTC where no offset is given; the time of the transaction if absent"),
    ] = None

    @cached_property
    def quantities(self) -> dict[int, int]:
        """Quantity by product, ascending; lines of the same product are one."""
        merged = dict.fromkeys(sorted(line.product_id for line in self.lines), 0)
        for line in self.lines:
            merged[line.product_id] += line.quantity
        return merged

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that tell a repeat from other content under the same id."""
        content = json.dumps([self.customer_id, list(self.quantities.items())])
        return blake2b(content.encode(), digest_size=16).hexdigest()


class CancelOrder(Request):
    """Cancel an order: its stock and its amount go back."""

    order_id: UUID


class ShipOrder(Request):
    """Ship an order: from here on it cannot be cancelled."""

    order_id: UUID


class Restock(Request):
    """Add stock. `restock_id` is made by the caller and is its idempotency key."""

    restock_id: UUID
    product_id: Id
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_RESTOCK)]
