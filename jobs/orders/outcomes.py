"""What requests about orders and stock come to."""

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter

from jobs.contract import Conflict, Dead, Invalid, Outcome


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
