"""What an order is at this moment, for whoever asks over HTTP: snapshot reads."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.contract import Conflict, Outcome
from jobs.orders.known_orders import KnownOrder, known_outcomes
from jobs.orders.outcomes import (
    AlreadyCancelled,
    AlreadyShipped,
    Cancelled,
    Placed,
    PlaceOutcome,
    Rejected,
    Shipped,
)
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Reader, Row, load_statements

_STATUS = load_statements("orders/order_status.sql")
Ask = Literal["cancel", "ship"]
Decided = Cancelled | AlreadyCancelled | Shipped | AlreadyShipped
_DECIDED: Final[Mapping[tuple[Ask, str], type[Decided]]] = {
    ("cancel", "cancelled"): Cancelled,
    ("cancel", "shipped"): AlreadyShipped,
    ("ship", "shipped"): Shipped,
    ("ship", "cancelled"): AlreadyCancelled,
}
_KNOWN: Final = tuple(field.name for field in fields(KnownOrder))


class Accepted(Outcome):
    """The order is on its way, and has no outcome yet."""

    status: Literal["accepted"] = "accepted"
    order_id: UUID


class SoldLine(BaseModel):
    """What was taken, at the price of that moment."""

    model_config = ConfigDict(frozen=True)

    product_id: int
    quantity: int
    unit_price_cents: int


class OrderNow(BaseModel):
    """An order that has an outcome; `status` is what it is now. One that was rejected has no lines."""

    model_config = ConfigDict(frozen=True)

    order_id: UUID
    status: Literal["placed", "rejected", "cancelled", "shipped"]
    first_outcome: Placed | Rejected
    customer_id: int
    total_cents: int
    placed_at: datetime
    lines: tuple[SoldLine, ...]

    def decided(self, asked: Ask) -> Decided | Placed | Rejected | None:
        """What that job would come to, also later; None while the order is placed, and the job would change it."""
        if self.status == "placed":
            return None
        kind = _DECIDED.get((asked, self.status))
        return kind(order_id=self.order_id) if kind else self.first_outcome


async def find_order(reader: Reader, order_id: UUID) -> OrderNow | Accepted | None:
    """The order, `Accepted` where it is staged, None where the database knows nothing of it."""
    (row,) = await reader.fetch(_STATUS["order_now"], {"order_id": order_id.hex})
    if row["order_id"] is not None:
        return _order_now(row)
    return Accepted(order_id=order_id) if row["staged"] else None


def _order_now(row: Row) -> OrderNow:
    known = KnownOrder(**{name: row[name] for name in _KNOWN} | {"order_id": UUID(row["order_id"])})
    lines = sorted(orjson.loads(row["bought"] or "[]"))
    return OrderNow(
        order_id=known.order_id,
        status=row["status"],
        first_outcome=known.first_outcome(),
        customer_id=known.customer_id,
        total_cents=known.total_cents,
        placed_at=row["placed_at"].replace(tzinfo=UTC),
        lines=tuple(SoldLine(**dict(zip(SoldLine.model_fields, line, strict=True))) for line in lines),
    )


async def accepted_before(
    reader: Reader, orders: Mapping[UUID, PlaceOrder]
) -> dict[UUID, PlaceOutcome | Accepted]:
    """Of orders that were accepted before: the first outcome, or `Accepted`; `Conflict` where the content was another."""
    rows = await reader.fetch(_STATUS["staged_requests"], {"order_ids": _hex(orders)})
    staged = {
        order_id: _accepted(orders[order_id], row["request"])
        for row in rows
        for order_id in [UUID(row["order_id"])]
    }
    # Asked for in this order: one that gets its outcome in between is seen twice, and not missed.
    return staged | await known_outcomes(reader, orders.values())


def _accepted(order: PlaceOrder, staged: str) -> Accepted | Conflict:
    try:
        same = PlaceOrder.model_validate_json(staged).fingerprint == order.fingerprint
    except ValidationError:  # somebody has staged what is no order
        same = False
    return Accepted(order_id=order.order_id) if same else Conflict(id=order.order_id)


def _hex(order_ids: Iterable[UUID]) -> list[str]:
    return sorted(order_id.hex for order_id in order_ids)
