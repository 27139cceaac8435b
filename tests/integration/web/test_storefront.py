"""The storefront's pages: what they show, where they end, and what their addresses may be."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from jobs.contract import MAX_ID
from jobs.orders.requests import PlaceOrder
from jobs.orders.storefront import PAGE, PRODUCTS_PAGE
from tests.asking import Session
from tests.integration.web.conftest import PROBLEM, Client, problem
from tests.offenders import assert_none
from tests.shop import PRICE_CENTS, an_order, open_shop
from worker.database.transactions import Database
from worker.queue.idempotency import place_once
from worker.settings import Settings
from worker.web.application import make_application

MOMENT: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def order_at(moment: datetime, number: int, lines: Mapping[int, int] | None = None) -> PlaceOrder:
    order = an_order(lines or {1: 1}, order_id=UUID(int=number))
    return order.model_copy(update={"placed_at": moment})


async def get(door: Client, path: str) -> Any:
    async with door.get(path) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return await response.json()


async def test_a_page_has_a_product_its_reviews_and_the_orders_of_a_customer(
    door: Client, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5, 2: 5})
    await session.run("UPDATE products SET description = 'fine' WHERE product_id = 1")
    placed, rejected = order_at(MOMENT, 1, {1: 2, 2: 1}), order_at(MOMENT + timedelta(days=1), 2, {1: 9})
    await place_once(database, [placed], job="test")
    await place_once(database, [rejected], job="test")
    async with door.post(
        "/products/1/reviews", json={"customer_id": 2, "rating": 4, "body": "good"}
    ) as response:
        review = await response.json()
    assert await get(door, "/product/1/1") == {
        "product": {
            "product_id": 1,
            "name": "product 1",
            "description": "fine",
            "price_cents": PRICE_CENTS,
            "available": 3,
        },
        "reviews": {"count": 1, "average": 4.0, "newest": [review]},
        "customer": {
            "customer_id": 1,
            "name": "customer 1",
            "orders": [
                {
                    "order_id": str(rejected.order_id),
                    "status": "rejected",
                    "reason": "insufficient_stock",
                    "rejected_product_id": 1,
                    "total_cents": 0,
                    "placed_at": "2026-01-03T03:04:05Z",
                    "lines": [],
                },
                {
                    "order_id": str(placed.order_id),
                    "status": "placed",
                    "reason": None,
                    "rejected_product_id": None,
                    "total_cents": 3 * PRICE_CENTS,
                    "placed_at": "2026-01-02T03:04:05Z",
                    "lines": [
                        {
                            "product_id": 1,
                            "name": "product 1",
                            "quantity": 2,
                            "unit_price_cents": PRICE_CENTS,
                        },
                        {
                            "product_id": 2,
                            "name": "product 2",
                            "quantity": 1,
                            "unit_price_cents": PRICE_CENTS,
                        },
                    ],
                },
            ],
            "next": None,
        },
    }


async def test_a_product_may_be_looked_at_without_a_customer(door: Client, database: Database) -> None:
    await open_shop(database, {1: 5})
    page = await get(door, "/product/1")
    assert page["product"]["available"] == 5
    assert page["reviews"] == {"count": 0, "average": None, "newest": []}
    assert page["customer"] is None


async def test_what_a_form_asks_for_is_a_page_with_that_customer(door: Client, database: Database) -> None:
    await open_shop(database, {1: 5})
    async with door.get("/product/1?customer_id=7", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/product/1/7")


async def test_a_page_shows_the_newest_twenty_orders_and_reviews(
    door: Client, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 50})
    await place_once(
        database,
        [order_at(MOMENT + timedelta(hours=hour), 99 - hour) for hour in range(PAGE + 5)],
        job="test",
    )
    await session.run(
        "INSERT INTO reviews SELECT order_id, 1, customer_id, 3, HEX(order_id), placed_at FROM orders"
    )
    page = await get(door, "/product/1/1")
    newest = [str(UUID(int=99 - hour)) for hour in range(PAGE + 4, 4, -1)]
    assert [order["order_id"] for order in page["customer"]["orders"]] == newest
    assert [review["review_id"] for review in page["reviews"]["newest"]] == newest


def following(response: ClientResponse) -> str | None:
    link = response.links.get("next")
    return str(URL(link["url"]).relative()) if link else None


@pytest.mark.parametrize("path", ["/product/1/1", "/customer/1/orders"])
async def test_nobody_sees_the_orders_of_a_customer_without_a_key(
    path: str, settings: Settings, database: Database
) -> None:
    await open_shop(database, {1: 5})
    async with TestClient(TestServer(make_application(settings))) as client:
        async with client.get(path) as response:
            assert response.status == 401
            await problem(response)
        assert (await get(client, "/product/1"))["customer"] is None
        assert (await get(client, "/products"))["next"] is None


async def walk(door: Client, path: str | None) -> list[Any]:
    """The pages from there to the last, by their links."""
    pages = []
    while path:
        async with door.get(path) as response:
            pages.append(await response.json())
            path = following(response)
    return pages


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 7])
async def test_the_pages_of_a_history_have_every_order_once_the_newest_first(
    count: int, door: Client, database: Database
) -> None:
    """Three orders have the same moment, so that pages end among such."""
    await open_shop(database, {1: 500})
    orders = [order_at(MOMENT + timedelta(microseconds=number // 3), number) for number in range(count)]
    await place_once(database, orders, job="test")
    pages = await walk(door, "/customer/1/orders")
    assert {page["name"] for page in pages} == {"customer 1"}
    seen = [order["order_id"] for page in pages for order in page["orders"]]
    assert seen == [str(UUID(int=number)) for number in reversed(range(count))]
    assert all(len(page["orders"]) == PAGE for page in pages[:-1])


async def test_orders_that_come_meanwhile_double_none_and_hide_none(door: Client, database: Database) -> None:
    """New ones, one among those that were shown, and one among those that are not yet."""
    await open_shop(database, {1: 500})
    known = [order_at(MOMENT + timedelta(hours=number), 2 * number) for number in range(3 * PAGE)]
    await place_once(database, known, job="test")
    seen: list[str] = []
    path: str | None = "/customer/1/orders"
    late = [order_at(MOMENT + timedelta(hours=hours), 1000 + hours) for hours in (500, 501, 55, 5)]
    while path:
        async with door.get(path) as response:
            seen += [order["order_id"] for order in (await response.json())["orders"]]
            path = following(response)
        await place_once(database, [late.pop()] if late else [], job="test")
    assert len(seen) == len(set(seen))
    assert [order_id for order_id in seen if UUID(order_id).int < 1000] == [
        str(order.order_id) for order in reversed(known)
    ]
    assert str(UUID(int=1005)) in seen


async def test_all_products_are_found_by_their_links(door: Client, database: Database) -> None:
    ids = [*range(1, PRODUCTS_PAGE + 4), MAX_ID]
    await open_shop(database, dict.fromkeys(ids, 5))
    pages = await walk(door, "/products?customer_id=7")
    assert [product["product_id"] for page in pages for product in page["products"]] == ids
    assert [page["next"] for page in pages] == [PRODUCTS_PAGE, None]
    assert await get(door, f"/products?after={MAX_ID}") == {"products": [], "next": None}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/product/2/1", "there is no product 2"),
        ("/product/2", "there is no product 2"),
        ("/product/1/99", "there is no customer 99"),
        ("/customer/99/orders", "there is no customer 99"),
        (f"/product/{MAX_ID}", f"there is no product {MAX_ID}"),
    ],
)
async def test_what_is_not_there_is_named(path: str, named: str, door: Client, database: Database) -> None:
    await open_shop(database, {1: 5})
    async with door.get(path) as response:
        assert response.status == 404
        assert (await problem(response))["detail"] == named


NO_NUMBERS: Final = ("0", "-1", "x", "1.0", "1e3", "%20", "1_0", "%D9%A1", str(2**63), "9" * 500, "%00")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/product/{}", "product_id"),
        ("/product/{}/1", "product_id"),
        ("/product/1/{}", "customer_id"),
        ("/product/1?customer_id={}", "customer_id"),
        ("/customer/{}/orders", "customer_id"),
        ("/products?after={}", "after"),
        ("/products?customer_id={}", "customer_id"),
    ],
)
async def test_what_is_no_number_of_anything_is_named(path: str, named: str, door: Client) -> None:
    faults = {bad: await fault_of_refusal(door, path.format(bad), named) for bad in NO_NUMBERS}
    assert_none(f"{bad} is answered with {fault}" for bad, fault in faults.items() if fault)


async def fault_of_refusal(door: Client, path: str, named: str) -> str | None:
    """The answer, unless it is a short problem that names this."""
    async with door.get(path) as response:
        text = await response.text()
        if (response.status, response.content_type) == (400, PROBLEM):
            detail = (await problem(response))["detail"]
            if detail.startswith(f"{named}: ") and len(detail) < 200:
                return None
        return f"{response.status}, {response.content_type}: {text}"


@pytest.mark.parametrize(
    "before",
    ["", "x", ",", "2026-01-01", "2026-01-01T00:00:00Z,", "2026-01-01T00:00:00Z,7", "0001-01-01,x", "9999-12-31T00:00:00Z,"
     + "0" * 32],
)  # fmt: skip
async def test_a_page_that_nobody_was_told_of_is_refused(before: str, door: Client) -> None:
    async with door.get("/customer/1/orders", params={"before": before}) as response:
        assert response.status == 400
        assert (await problem(response))["detail"].startswith("before: ")


async def test_what_no_page_can_show_is_no_fault_of_who_asks(
    door: Client, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    await place_once(database, [order_at(MOMENT, 1)], job="test")
    await session.run("UPDATE orders SET placed_at = '1000-01-01'")
    async with door.get("/product/1/1") as response:
        assert response.status == 500
        await problem(response)


async def test_a_page_with_the_longest_names_and_the_most_lines_is_whole(
    door: Client, database: Database, session: Session
) -> None:
    """Characters that take six bytes each in JSON: as much as MariaDB puts into one text."""
    await open_shop(database, {1: 5})
    await session.run("DELETE FROM products")
    await session.run(f"INSERT INTO products (product_id, name) VALUES ({MAX_ID}, REPEAT(CHAR(1), 255))")
    numbers = "JSON_TABLE(CONCAT('[', REPEAT('0,', 499), '0]'), '$[*]' COLUMNS (n FOR ORDINALITY)) AS numbers"
    await session.run(
        "INSERT INTO products (product_id, name)"
        f" SELECT {MAX_ID} - n, REPEAT(CHAR(1), 255) FROM {numbers} WHERE n < 500"
    )
    await session.run(
        "INSERT INTO orders SELECT UNHEX(LPAD(HEX(n), 32, '0')), 1, 'placed', NULL, NULL, 1, REPEAT('x', 16), NOW(6), NOW(6)"
        f" FROM {numbers} WHERE n <= {PAGE}"
    )
    await session.run(
        "INSERT INTO order_lines SELECT order_id, product_id, 10000, 4294967295 FROM orders JOIN products"
    )
    page = await get(door, "/customer/1/orders")
    assert [len(order["lines"]) for order in page["orders"]] == [500] * PAGE
    assert {line["name"] for order in page["orders"] for line in order["lines"]} == {"\x01" * 255}
