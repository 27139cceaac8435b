"""Requests, outcomes, and the decisions about orders: pure, so that they can be tested without a server."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Final, Literal, NamedTuple
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

MAX_ORDERS: Final = 500  # in one transaction: bounds its locks and its undo log
MAX_LINES: Final = 500
MAX_QUANTITY: Final = 10_000
MAX_RESTOCK: Final = 1_000_000_000  # fits INT UNSIGNED
MAX_ID: Final = 2**63 - 1  # every language's signed 64-bit integer holds it
YEARS: Final = range(1970, 9999)  # DATETIME holds them, and so does every language's clock


def _in_utc(moment: datetime) -> datetime:
    try:
        utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or utc.year not in YEARS:
        raise ValueError(f"the year must be from {YEARS.start} to {YEARS.stop - 1}, in UTC")
    return utc


Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class Request(BaseModel):
    """What somebody asks for. Unknown fields are refused; so is a number in a string."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Outcome(BaseModel):
    """What became of a request; `status` tells which."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    status: str


class Placed(Outcome):
    """Stock is taken and the amount is owed."""

    status: Literal["placed"] = "placed"
    order_id: UUID
    total_cents: int


Reason = Literal["unknown_customer", "unknown_product", "insufficient_stock", "credit_limit"]


class Rejected(Outcome):
    """A rule said no; nothing was taken. `product_id` names the product that was unknown or short."""

    status: Literal["rejected"] = "rejected"
    order_id: UUID
    reason: Reason
    product_id: int | None = None


class Conflict(Outcome):
    """The id belongs to a request with other content; nothing was changed."""

    status: Literal["conflict"] = "conflict"
    id: UUID


class Cancelled(Outcome):
    """The order is cancelled, now or before."""

    status: Literal["cancelled"] = "cancelled"
    order_id: UUID


class Shipped(Outcome):
    """The order is shipped, now or before."""

    status: Literal["shipped"] = "shipped"
    order_id: UUID


class AlreadyShipped(Outcome):
    """A shipped order cannot be cancelled."""

    status: Literal["already_shipped"] = "already_shipped"
    order_id: UUID


class AlreadyCancelled(Outcome):
    """A cancelled order cannot be shipped."""

    status: Literal["already_cancelled"] = "already_cancelled"
    order_id: UUID


class NotFound(Outcome):
    """No order with this id has an outcome yet."""

    status: Literal["not_found"] = "not_found"
    order_id: UUID


class Restocked(Outcome):
    """The stock came in, now or before."""

    status: Literal["restocked"] = "restocked"
    restock_id: UUID
    product_id: int
    quantity: int


class UnknownProduct(Outcome):
    """There is no such product to restock."""

    status: Literal["unknown_product"] = "unknown_product"
    restock_id: UUID
    product_id: int


class Invalid(Outcome):
    """The request could not be understood; nothing was written. `error` names the field and the value."""

    status: Literal["invalid"] = "invalid"
    error: str


class Dead(Outcome):
    """Nobody can run the job now; it is kept as a dead letter, and has its outcome when that is replayed."""

    status: Literal["dead"] = "dead"
    job_id: str
    error: str


PlaceOutcome = Placed | Rejected | Conflict
AnyOutcome = Annotated[
    Placed
    | Rejected
    | Conflict
    | Cancelled
    | Shipped
    | AlreadyShipped
    | AlreadyCancelled
    | NotFound
    | Restocked
    | UnknownProduct
    | Invalid
    | Dead,
    Field(discriminator="status"),
]
outcomes: Final[TypeAdapter[AnyOutcome]] = TypeAdapter(AnyOutcome)


class Customer(NamedTuple):
    """A locked row of `customers`."""

    customer_id: int
    credit_limit_cents: int | None
    balance_cents: int


class Stock(NamedTuple):
    """A locked row of `stock`."""

    product_id: int
    price_cents: int
    available: int


def decide(
    orders: Iterable[PlaceOrder], customers: Mapping[int, Customer], stock: Mapping[int, Stock]
) -> list[Placed | Rejected]:
    """Decide orders in the order they came, each on what those before it left over."""
    available = {row.product_id: row.available for row in stock.values()}
    balances = {row.customer_id: row.balance_cents for row in customers.values()}
    decided: list[Placed | Rejected] = []
    for order in orders:
        outcome = _decide_one(order, customers, stock, available, balances)
        if isinstance(outcome, Placed):
            balances[order.customer_id] += outcome.total_cents
            for product_id, quantity in order.quantities.items():
                available[product_id] -= quantity
        decided.append(outcome)
    return decided


def _decide_one(
    order: PlaceOrder,
    customers: Mapping[int, Customer],
    stock: Mapping[int, Stock],
    available: Mapping[int, int],
    balances: Mapping[int, int],
) -> Placed | Rejected:
    def rejected(reason: Reason, product_id: int | None = None) -> Rejected:
        return Rejected(order_id=order.order_id, reason=reason, product_id=product_id)

    customer = customers.get(order.customer_id)
    if customer is None:
        return rejected("unknown_customer")
    for product_id in order.quantities:
        if product_id not in stock:
            return rejected("unknown_product", product_id)
    for product_id, quantity in order.quantities.items():
        if quantity > available[product_id]:
            return rejected("insufficient_stock", product_id)
    total_cents = sum(stock[product_id].price_cents * n for product_id, n in order.quantities.items())
    limit = customer.credit_limit_cents
    if limit is not None and balances[order.customer_id] + total_cents > limit:
        return rejected("credit_limit")
    return Placed(order_id=order.order_id, total_cents=total_cents)
