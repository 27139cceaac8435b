"""The storefront: products, what customers say of them, and a customer's orders. The contract is in docs/http.md."""

import asyncio
import re
from collections.abc import Awaitable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from jobs.contract import MAX_ID, Conflict
from jobs.orders.storefront import (
    NEWEST,
    PRODUCTS_PAGE,
    Before,
    Customer,
    Product,
    Reviews,
    Shown,
    find_customer,
    find_product,
    find_reviews,
    page_of_products,
)
from jobs.orders.write_review import WriteReview, find_unknown
from jobs.transaction import Reader
from worker.errors import printable
from worker.queue.idempotency import review_once
from worker.web.authentication import needs_key
from worker.web.bodies import answer, read_json
from worker.web.pages import respond
from worker.web.problems import Problem
from worker.web.servers import CACHE, DATABASE, READER

MAX_REVIEW_BYTES: Final = 32 * 1024  # 2,000 characters, each as \uXXXX\uXXXX
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
Found = TypeVar("Found")
routes: Final = web.RouteTableDef()


class ProductPage(Shown):
    """A product with its reviews and, where one looks at it, the customer with their orders."""

    product: Product
    reviews: Reviews
    customer: Customer | None


class ProductsPage(Shown):
    """Some of all products, by id; `next` is the one that the next page comes after."""

    products: tuple[Product, ...]
    next: int | None


@routes.get("/products")
async def show_products(request: web.Request) -> web.Response:
    """The products after a given one."""
    numbers = {
        name: _number(request.query, name) for name in ("after", "customer_id") if name in request.query
    }
    products = await page_of_products(request.app[READER], numbers.get("after", 0))
    page = ProductsPage(
        products=products, next=products[-1].product_id if len(products) == PRODUCTS_PAGE else None
    )
    following = f"/products?{urlencode(numbers | {'after': page.next})}" if page.next else None
    return respond(
        request, "products.html", page, following=following, customer_id=numbers.get("customer_id")
    )


@routes.get("/product/{product_id}")
async def show_product(request: web.Request) -> web.Response:
    """A product."""
    product_id = _number(request.match_info, "product_id")
    if "customer_id" in request.query:  # from the form that asks who is there
        raise web.HTTPSeeOther(f"/product/{product_id}/{_number(request.query, 'customer_id')}")
    page = await _read_product_page(request.app, product_id, None)
    return respond(request, "product.html", page, following=None, customer_id=None)


@routes.get("/product/{product_id}/{customer_id}")
@needs_key
async def show_product_to_customer(request: web.Request) -> web.Response:
    """The same as a customer sees it, with their orders."""
    product_id, customer_id = (_number(request.match_info, name) for name in ("product_id", "customer_id"))
    page = await _read_product_page(request.app, product_id, customer_id)
    assert page.customer is not None, "else it is a problem"
    following = _orders_after(page.customer)
    return respond(request, "product.html", page, following=following, customer_id=customer_id)


async def _read_product_page(
    application: web.Application, product_id: int, customer_id: int | None
) -> ProductPage:
    """All at once, each on a connection of its own, which it gives back when it has its rows: nobody holds one and waits."""
    cache, reader, named = application[CACHE], application[READER], f"product {product_id}"
    finding_product = partial(find_product, reader, product_id)
    finding_reviews = partial(find_reviews, reader, product_id)
    async with asyncio.TaskGroup() as group:  # the longest first
        customer = group.create_task(_read_customer(reader, customer_id)) if customer_id else None
        product = group.create_task(_known(cache.get(Product, product_id, finding_product), named))
        reviews = group.create_task(_known(cache.get(Reviews, product_id, finding_reviews), named))
    return ProductPage(
        product=product.result(), reviews=reviews.result(), customer=customer.result() if customer else None
    )


@routes.get("/customer/{customer_id}/orders")
@needs_key
async def show_orders(request: web.Request) -> web.Response:
    """The orders of a customer that come before a given one."""
    customer_id = _number(request.match_info, "customer_id")
    customer = await _read_customer(request.app[READER], customer_id, _before(request.query))
    return respond(
        request, "orders.html", customer, following=_orders_after(customer), customer_id=customer_id
    )


@routes.post("/products/{product_id}/reviews")
@needs_key
async def review_product(request: web.Request) -> web.Response:
    """Write a review. To send it again is safe: the same id is the same review."""
    product_id = _number(request.match_info, "product_id")
    content = await read_json(request, MAX_REVIEW_BYTES)
    if not isinstance(content, dict):
        raise Problem(HTTPStatus.BAD_REQUEST, "a review is an object of JSON")
    review = WriteReview.model_validate({"product_id": product_id, **content})
    if review.product_id != product_id:
        raise Problem(HTTPStatus.BAD_REQUEST, f"product_id: the address says {product_id}")
    if unknown := await find_unknown(request.app[READER], review):
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no {unknown}")
    written = await review_once(request.app[DATABASE], review)
    if isinstance(written, Conflict):
        raise Problem(HTTPStatus.CONFLICT, f"{written.id} belongs to a review with other content")
    await request.app[CACHE].forget(Reviews, [product_id])
    return answer(written, HTTPStatus.CREATED)


async def _read_customer(reader: Reader, customer_id: int, before: Before = NEWEST) -> Customer:
    return await _known(find_customer(reader, customer_id, before), f"customer {customer_id}")


async def _known(finding: Awaitable[Found | None], what: str) -> Found:
    found = await finding
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no {what}")
    return found


def _number(texts: Mapping[str, str], name: str) -> int:
    text = texts[name]
    if _DIGITS.fullmatch(text) and 1 <= int(text) <= MAX_ID:
        return int(text)
    raise Problem(HTTPStatus.BAD_REQUEST, f"{name}: {printable(text)[:80]!r} is no number from 1 to {MAX_ID}")


def _before(query: Mapping[str, str]) -> Before:
    if (text := query.get("before")) is None:
        return NEWEST
    try:
        return Before.read(text)
    except ValueError:
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"before: {printable(text)[:80]!r} is not what `next` of a page says"
        ) from None


def _orders_after(customer: Customer) -> str | None:
    before = customer.next and urlencode({"before": str(customer.next)})
    return before and f"/customer/{customer.customer_id}/orders?{before}"
