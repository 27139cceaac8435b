"""What the shop's pages show: snapshot reads, each of one page, in models that are fit for JSON."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, TypeAdapter, ValidationError

from jobs.contract import Moment
from jobs.orders.outcomes import Reason
from jobs.transaction import Parameters, Reader, Statement, load_statements

_STOREFRONT = load_statements("orders/storefront.sql")
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%f"  # all six digits, also of a whole second

PAGE: Final = 20  # orders, or reviews
PRODUCTS_PAGE: Final = 48
Found = TypeVar("Found")


class Shown(BaseModel):
    """Something that a page shows."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class Product(Shown):
    """A product. Whether there is enough of it is decided when it is ordered, and never by what is shown."""

    product_id: int
    name: str
    description: str | None
    price_cents: int
    available: int


class Review(Shown):
    """What a customer says of a product."""

    review_id: UUID
    product_id: int
    customer_id: int
    customer_name: str | None
    rating: int
    body: str
    written_at: Moment


def _newest_reviews(reviews: tuple[Review, ...]) -> tuple[Review, ...]:
    return tuple(sorted(reviews, key=lambda review: (review.written_at, review.review_id), reverse=True))


class Reviews(Shown):
    """What all say of a product: how many do, their average (none where nobody does), and the newest."""

    count: int
    average: float | None
    newest: Annotated[tuple[Review, ...], AfterValidator(_newest_reviews)]


class OrderLine(Shown):
    """What an order took, at the price of that moment."""

    product_id: int
    name: str | None
    quantity: int
    unit_price_cents: int


class Order(Shown):
    """An order as it is now; one that was rejected has no lines."""

    order_id: UUID
    status: str
    reason: Reason | None
    rejected_product_id: int | None
    total_cents: int
    placed_at: Moment
    lines: tuple[OrderLine, ...]


def _newest_orders(orders: tuple[Order, ...]) -> tuple[Order, ...]:
    return tuple(sorted(orders, key=lambda order: (order.placed_at, order.order_id), reverse=True))


class Before(NamedTuple):
    """Where a page of orders begins: with the newest one that comes before this."""

    placed_at: datetime
    order_id: UUID

    def __str__(self) -> str:
        return f"{self.placed_at:{_TIME}}Z,{self.order_id}"

    @classmethod
    def read(cls, text: str) -> "Before":
        """The inverse of `str`. Raises ValueError."""
        placed_at, _, order_id = text.partition(",")
        return cls(_moments.validate_python(placed_at), UUID(order_id))


_moments: Final = TypeAdapter[datetime](Moment)
NEWEST: Final = Before(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


class Customer(Shown):
    """A customer and a page of orders, the newest first; `next` is where the page after it begins, be it empty."""

    customer_id: int
    name: str
    orders: Annotated[tuple[Order, ...], AfterValidator(_newest_orders)]
    next: Annotated[Before, PlainSerializer(str, return_type=str)] | None = None


_products: Final = TypeAdapter(tuple[Product, ...])


async def find_product(reader: Reader, product_id: int) -> Product | None:
    """The product, if there is one."""
    return await _find(
        reader, _STOREFRONT["product"], {"product_id": product_id}, Product.model_validate_json
    )


async def page_of_products(reader: Reader, after: int) -> tuple[Product, ...]:
    """The next PRODUCTS_PAGE products with greater ids; fewer where there are no more."""
    page = {"after": after, "size": PRODUCTS_PAGE}
    return await _find(reader, _STOREFRONT["page_of_products"], page, _products.validate_json) or ()


async def find_reviews(reader: Reader, product_id: int) -> Reviews | None:
    """The newest PAGE reviews of a product, if there is such a product."""
    page = {"product_id": product_id, "size": PAGE}
    return await _find(reader, _STOREFRONT["reviews_of_product"], page, Reviews.model_validate_json)


async def find_review(reader: Reader, review_id: UUID) -> Review | None:
    """The review, if it was written."""
    return await _find(
        reader, _STOREFRONT["review"], {"review_id": review_id.hex}, Review.model_validate_json
    )


async def find_customer(reader: Reader, customer_id: int, before: Before = NEWEST) -> Customer | None:
    """A customer, if there is one, with PAGE orders, or those that are left.

    Page after page gives each order that was there once, whatever is placed meanwhile.
    """
    page = {
        "customer_id": customer_id,
        "before": f"{before.placed_at:%Y-%m-%d %H:%M:%S.%f}",
        "before_id": before.order_id.hex,
        "size": PAGE,
    }
    customer = await _find(reader, _STOREFRONT["orders_of_customer"], page, Customer.model_validate_json)
    if customer is None or len(customer.orders) < PAGE:
        return customer
    last = customer.orders[-1]
    return customer.model_copy(update={"next": Before(last.placed_at, last.order_id)})


async def _find(
    reader: Reader, statement: Statement, parameters: Parameters, read: Callable[[str], Found]
) -> Found | None:
    """What the text of the one row says, if there is a row. Raises RuntimeError where no page can show it."""
    for row in await reader.fetch(statement, parameters):
        (text,) = row.values()
        try:
            return read(text)
        except ValidationError as error:
            raise RuntimeError(f"{statement.name} gives what no page can show") from error
    return None
