"""The routes of `worker.web.storefront` as their callers see them."""

from http import HTTPStatus
from typing import Any, Final

from pydantic.json_schema import SkipJsonSchema

from jobs.contract import Id
from jobs.orders.storefront import Customer, Review
from jobs.orders.write_review import WriteReview
from worker.web.openapi import GUARDED, READ, Answer, Operation
from worker.web.storefront import ProductPage, ProductsPage

_NEXT: Final = "`next` of the page before, which `Link` has, too"


class ReviewBody(WriteReview):
    """A review of the product in the address. `review_id` is its idempotency key: without one, a repeat is another review."""

    product_id: SkipJsonSchema[Id]


def _shown(says: str, model: Any, *headers: str) -> dict[HTTPStatus, Answer]:  # noqa: ANN401  # a type
    return {HTTPStatus.OK: Answer(says, model, texts=["text/html"], headers=headers)}


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/products",
        summary="Look through all products",
        query={
            "after": (Id, f"the product that the page comes after: {_NEXT}"),
            "customer_id": (Id, "who looks: of a page in HTML, its links lead to this customer's"),
        },
        answers=_shown("A page of them, by ascending id.", ProductsPage, "Link"),
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="GET",
        path="/product/{product_id}",
        summary="Look at a product",
        query={"customer_id": (Id, "leads to the page of this customer")},
        answers={
            **_shown("The product, and the newest reviews.", ProductPage),
            HTTPStatus.SEE_OTHER: Answer("Where the page of that customer is.", headers=["Location"]),
        },
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="GET",
        path="/product/{product_id}/{customer_id}",
        summary="Look at a product as a customer",
        answers=_shown(
            "The product, the newest reviews, and the newest orders of the customer.", ProductPage, "Link"
        ),
        problems=(*GUARDED, HTTPStatus.NOT_FOUND),
        needs_key=True,
    ),
    Operation(
        method="GET",
        path="/customer/{customer_id}/orders",
        summary="Look through a customer's orders",
        query={"before": (str, f"the order that the page comes before: {_NEXT}")},
        answers=_shown("A page of them, the newest first.", Customer, "Link"),
        problems=(*GUARDED, HTTPStatus.NOT_FOUND),
        needs_key=True,
    ),
    Operation(
        method="POST",
        path="/products/{product_id}/reviews",
        summary="Review a product",
        description="To send it again is safe: the same id is the same review, with the same answer.",
        body=ReviewBody,
        answers={HTTPStatus.CREATED: Answer("It is written, now or before.", Review)},
        problems=(*GUARDED, *READ, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        needs_key=True,
    ),
)
