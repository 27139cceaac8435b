"""The same pages for a browser: well formed, escaped, and with nothing that their own policy forbids."""

import re
from base64 import b64encode
from functools import partial
from hashlib import sha256
from html.parser import HTMLParser
from typing import Final

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobs.orders.add_catalogue import Product, add_products
from tests.asking import Session
from tests.integration.web.conftest import Client, problem
from tests.shop import an_order, open_shop
from worker.database.transactions import Database
from worker.queue.idempotency import place_once
from worker.settings import Settings
from worker.web.application import make_application

BROWSER: Final = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
EVIL: Final = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}{% x %}"""
VOID: Final = {"meta", "link", "input", "img"}
PAGES: Final = ["/product/1/1", "/product/1", "/products", "/products?customer_id=1", "/customer/1/orders"]


class Page(HTMLParser):
    """What a page consists of. Fails where an element is not closed, or an id is there twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.unlabelled: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert sorted(ids, key=str) == sorted(set(ids), key=str)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"input", "textarea"} and "label" not in self._open:
            self.unlabelled.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def all_of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


async def get(door: Client, path: str) -> tuple[Page, str]:
    """The page, and its policy."""
    async with door.get(path, headers=BROWSER) as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert response.headers["Vary"] == "Accept"
        return Page(await response.text()), response.headers["Content-Security-Policy"]


@pytest.fixture
async def _shop(door: Client, database: Database) -> None:
    """A shop whose every text is an attack."""
    await open_shop(database, {2: 5})
    product = Product(product_id=1, name=EVIL, price_cents=123_456, available=7)
    await database.transact(partial(add_products, products=[product]), job="test")
    await place_once(database, [an_order({1: 2}), an_order({1: 99})], job="test")
    async with door.post(
        "/products/1/reviews", json={"customer_id": 1, "rating": 2, "body": EVIL}
    ) as response:
        assert response.status == 201


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("path", PAGES)
async def test_what_people_write_is_text_and_nothing_else(path: str, door: Client, session: Session) -> None:
    await session.run("UPDATE customers SET name = %(name)s WHERE customer_id = 1", {"name": EVIL})
    await session.run("UPDATE products SET description = %(name)s WHERE product_id = 1", {"name": EVIL})
    page, _ = await get(door, path)
    shown = "".join(text for texts in page.texts.values() for text in texts)
    assert EVIL in shown
    assert page.all_of("img") == []
    assert "alert" not in "".join(page.texts.get("script", []))
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("path", PAGES)
async def test_a_page_runs_and_shows_no_more_than_its_policy_names(path: str, door: Client) -> None:
    page, policy = await get(door, path)
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["base-uri"] == directives["frame-ancestors"] == "'none'"
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        for text in page.texts.get(tag, []):
            digest = b64encode(sha256(text.encode()).digest()).decode()
            assert directives[directive] == f"'sha256-{digest}'"
    assert not any("style" in attributes for _, attributes in page.elements)
    assert not any(name in {"src", "srcset"} for _, attributes in page.elements for name in attributes)
    addresses = [
        value
        for _, attributes in page.elements
        for value in (attributes.get("href"), attributes.get("action"))
    ]
    assert all(re.match(r"[/#]|data:,$", address) for address in addresses if address is not None)


@pytest.mark.usefixtures("_shop")
async def test_a_customer_sees_price_stock_reviews_and_orders(door: Client) -> None:
    page, _ = await get(door, "/product/1/1")
    shown = " ".join(" ".join(text for texts in page.texts.values() for text in texts).split())
    for text in (
        "$1,234.56",
        "5 in stock",
        "1 review",
        "$2,469.12",
        "placed",
        "rejected",
        "not enough in stock",
    ):
        assert text in shown
    stars = [
        attributes["aria-label"] for attributes in page.all_of("span") if attributes.get("role") == "img"
    ]
    assert "2 of 5 stars" in stars
    order, review = (form for form in page.all_of("form") if "data-kind" in form)
    assert (order["action"], order["data-customer"], order["data-product"]) == ("/orders", "1", "1")
    assert (review["action"], review["data-customer"]) == ("/products/1/reviews", "1")


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("path", PAGES)
async def test_every_field_has_a_label_and_every_page_a_title_a_language_and_one_heading(
    path: str, door: Client
) -> None:
    page, _ = await get(door, path)
    assert page.all_of("html") == [{"lang": "en"}]
    assert len(page.all_of("h1")) == len(page.all_of("title")) == len(page.all_of("main")) == 1
    assert page.unlabelled == []
    ids, name = {attributes.get("id") for _, attributes in page.elements}, "aria-labelledby"
    assert {attributes[name] for _, attributes in page.elements if name in attributes} <= ids


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/product/7", 404, "there is no product 7"),
        ("/product/%3Cb%3E", 400, "product_id: '<b>' is no number"),
        ("/nowhere", 404, "Not Found"),
    ],
)
async def test_a_browser_is_told_of_a_problem_on_a_page_and_a_program_in_json(
    path: str, status: int, said: str, door: Client
) -> None:
    async with door.get(path, headers=BROWSER) as response:
        assert (response.status, response.content_type) == (status, "text/html")
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Vary"] == "Accept"
        page = Page(await response.text())
    assert said in "".join(page.texts["p"])
    assert page.all_of("b") == []
    async with door.get(path) as response:
        assert said in (await problem(response))["detail"]
        assert response.headers["Vary"] == "Accept"


async def test_a_page_of_a_problem_keeps_what_the_answer_says_to_programs(settings: Settings) -> None:
    async with (
        TestClient(TestServer(make_application(settings))) as locked,
        locked.get("/product/1/1", headers=BROWSER) as response,
    ):
        assert (response.status, response.content_type) == (401, "text/html")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
