"""Write a review of a product."""

from typing import Annotated
from uuid import UUID, uuid4

from pydantic import Field, StringConstraints

from jobs.contract import Conflict, Id, Request
from jobs.orders.storefront import Review, find_review
from jobs.transaction import Reader, Transaction, load_statements

_STOREFRONT = load_statements("orders/storefront.sql")


class WriteReview(Request):
    """A review. `review_id` is its idempotency key: without one, a repeat is another review."""

    review_id: Annotated[UUID, Field(default_factory=uuid4)]
    product_id: Id
    customer_id: Id
    rating: Annotated[int, Field(strict=True, ge=1, le=5)]
    body: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


async def find_unknown(reader: Reader, review: WriteReview) -> str | None:
    """The product or the customer of a review that is not there, as words. Neither is ever removed."""
    parties = {"product_id": review.product_id, "customer_id": review.customer_id}
    (known,) = await reader.fetch(_STOREFRONT["parties_of_review"], parties)
    missing = (f"{name} {parties[f'{name}_id']}" for name, is_known in known.items() if not is_known)
    return next(missing, None)


async def write_review(transaction: Transaction, review: WriteReview) -> None:
    """Write it, and count it with its product. May run again.

    A duplicate-key error of the transaction means that the review is known: ask `known_review`.
    """
    row = {**review.model_dump(), "review_id": review.review_id.hex}
    counted = {"product_id": review.product_id, "rating": review.rating}
    await transaction.execute(_STOREFRONT["count_review"], counted)
    await transaction.execute(_STOREFRONT["insert_review"], row)


async def known_review(reader: Reader, review: WriteReview) -> Review | Conflict:
    """A review that was written, now or before: a conflict where its content is another."""
    known = await find_review(reader, review.review_id)
    assert known is not None, "reviews are never removed"
    is_same = all(getattr(known, name) == value for name, value in review)
    return known if is_same else Conflict(id=review.review_id)
