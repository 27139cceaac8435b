"""The routes of `worker.web.orders` as their callers see them."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import Field

from jobs.contract import Conflict, Dead
from jobs.orders.order_status import Accepted, OrderNow
from jobs.orders.outcomes import AlreadyCancelled, AlreadyShipped, Cancelled, Placed, Rejected, Shipped
from jobs.orders.requests import MAX_ORDERS, PlaceOrder
from worker.web.openapi import GUARDED, READ, Answer, Operation

Orders = Annotated[list[PlaceOrder], Field(min_length=1, max_length=MAX_ORDERS)]
AnOutcome = Annotated[Placed | Rejected, Field(discriminator="status")]
Result = Annotated[Placed | Rejected | Conflict | Accepted, Field(discriminator="status")]
Results = Annotated[list[Result], Field(min_length=1, max_length=MAX_ORDERS)]
Found = Annotated[OrderNow | Accepted | Dead, Field(discriminator="status")]
CancelOutcome = Annotated[Cancelled | AlreadyShipped | Rejected, Field(discriminator="status")]
ShipOutcome = Annotated[Shipped | AlreadyCancelled | Rejected, Field(discriminator="status")]

_WAITED: Final = ("Location", "Preference-Applied")
_LATER: Final = Answer("It is accepted; `Location` has the outcome later.", Accepted, headers=_WAITED)


def _ask(what: str, outcome: Any, says: str) -> Operation:  # noqa: ANN401  # a type
    return Operation(
        method="POST",
        path=f"/orders/{{order_id}}/{what}",
        summary=f"{what.capitalize()} an order",
        description=f"A worker does it. To ask again is safe. {says}",
        answers={
            HTTPStatus.OK: Answer(
                "The outcome, for who has asked to wait, or if it was certain before.",
                outcome,
                headers=_WAITED,
            ),
            HTTPStatus.ACCEPTED: _LATER,
        },
        problems=(*GUARDED, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        needs_key=True,
        waits=True,
    )


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/orders",
        summary="Place an order, or up to 500",
        description=(
            "One order as an object, or an array. Of an array all orders are valid, or none is accepted; `errors` names"
            " each that is not. An order that a rule rejects is no error: its outcome is `rejected`."
        ),
        body=PlaceOrder | Orders,
        answers={
            HTTPStatus.OK: Answer(
                "The outcome: its first one, where the order is known. Of an array: each in its place.",
                AnOutcome | Results,
                headers=_WAITED,
            ),
            HTTPStatus.ACCEPTED: Answer(
                "It is staged in the database. Of an array: at least one has no outcome yet. With `Retry-After` the workers"
                " are behind, and nothing was waited for.",
                Accepted | Results,
                headers=(*_WAITED, "Retry-After"),
            ),
        },
        problems=(*GUARDED, *READ, HTTPStatus.CONFLICT),
        needs_key=True,
        waits=True,
    ),
    Operation(
        method="GET",
        path="/orders/{order_id}",
        summary="Look an order up",
        answers={HTTPStatus.OK: Answer("What it is now; `first_outcome` never changes.", Found)},
        problems=(*GUARDED, HTTPStatus.NOT_FOUND),
        needs_key=True,
    ),
    _ask("cancel", CancelOutcome, "Its stock and its amount go back, unless it is shipped."),
    _ask("ship", ShipOutcome, "From then on it cannot be cancelled."),
)
