"""Reviews: each written once, counted, and shown at once."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.web.conftest import Client, problem
from tests.shop import broken_invariants, open_shop
from worker.database.transactions import Database

REVIEW = {"customer_id": 2, "rating": 4, "body": "good"}


async def test_a_review_is_shown_at_once_to_whoever_has_looked_before(
    door: Client, database: Database
) -> None:
    await open_shop(database, {1: 5})
    for number, rating in enumerate([5, 4, 4], start=1):
        async with door.post("/products/1/reviews", json={**REVIEW, "rating": rating}) as response:
            assert response.status == 201
            written = await response.json()
        async with door.get("/product/1") as response:
            reviews = (await response.json())["reviews"]
        assert reviews["count"] == number
        assert reviews["newest"][0] == written
    assert reviews["average"] == 4.33
    assert written["customer_name"] == "customer 2"
    assert not await broken_invariants(database)


async def test_the_same_review_again_is_answered_as_the_first_time(door: Client, database: Database) -> None:
    await open_shop(database, {1: 5})
    review = {**REVIEW, "review_id": str(uuid4())}

    async def post() -> tuple[int, Any]:
        async with door.post("/products/1/reviews", json=review) as response:
            return response.status, await response.json()

    first = await post()
    assert first[0] == 201
    assert [await post(), *await asyncio.gather(*(post() for _ in range(5)))] == [first] * 6
    async with door.get("/product/1") as response:
        assert (await response.json())["reviews"] == {"count": 1, "average": 4.0, "newest": [first[1]]}
    assert not await broken_invariants(database)


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("/products/1/reviews", {"rating": 5}),
        ("/products/1/reviews", {"body": "Good"}),
        ("/products/1/reviews", {"customer_id": 3}),
        ("/products/2/reviews", {}),
    ],
)
async def test_other_content_under_the_same_id_is_refused(
    path: str, changed: dict[str, Any], door: Client, database: Database
) -> None:
    await open_shop(database, {1: 5, 2: 5})
    review = {**REVIEW, "review_id": str(uuid4())}
    async with door.post("/products/1/reviews", json=review) as response:
        assert response.status == 201
    async with door.post(path, json=review | changed) as response:
        assert response.status == 409
        assert review["review_id"] in (await problem(response))["detail"]
    assert not await broken_invariants(database)


async def test_reviews_of_one_product_at_the_same_time_are_all_counted(
    door: Client, database: Database
) -> None:
    await open_shop(database, {1: 5})

    async def post(number: int) -> int:
        review = {"customer_id": 1 + number % 9, "rating": 1 + number % 5, "body": f"{number}"}
        async with door.post("/products/1/reviews", json=review) as response:
            return response.status

    assert set(await asyncio.gather(*map(post, range(40)))) == {201}
    async with door.get("/product/1") as response:
        reviews = (await response.json())["reviews"]
    assert (reviews["count"], reviews["average"]) == (40, 3.0)
    assert not await broken_invariants(database)


async def test_every_character_of_a_review_is_kept(door: Client, database: Database) -> None:
    await open_shop(database, {1: 5})
    body = "'\"\\%s(;-\n\r\0\x1a é🍌 <b>&amp;</b> {{ 7 * 7 }}"
    async with door.post("/products/1/reviews", json={**REVIEW, "body": f" {body}\t"}) as response:
        assert (await response.json())["body"] == body


@pytest.mark.parametrize(
    ("path", "changed", "status", "named"),
    [
        ("/products/9/reviews", {}, 404, "there is no product 9"),
        ("/products/1/reviews", {"customer_id": 99}, 404, "there is no customer 99"),
        ("/products/x/reviews", {}, 400, "product_id: "),
        ("/products/1/reviews", {"product_id": 2}, 400, "product_id: "),
        ("/products/1/reviews", {"rating": 0}, 400, "rating: "),
        ("/products/1/reviews", {"rating": 6}, 400, "rating: "),
        ("/products/1/reviews", {"rating": "4"}, 400, "rating: "),
        ("/products/1/reviews", {"body": " \n "}, 400, "body: "),
        ("/products/1/reviews", {"body": "x" * 2001}, 400, "body: "),
        ("/products/1/reviews", {"customer_id": None}, 400, "customer_id: "),
        ("/products/1/reviews", {"review_id": "7"}, 400, "review_id: "),
        ("/products/1/reviews", {"written_at": "2026-01-01"}, 400, "written_at: "),
        ("/products/1/reviews", {"body": "x" * 33_000}, 413, "the body has"),
    ],
)
async def test_what_is_wrong_with_a_review_is_named_and_nothing_is_written(
    path: str, changed: dict[str, Any], status: int, named: str, door: Client, database: Database
) -> None:
    await open_shop(database, {1: 5})
    async with door.post(path, json=REVIEW | changed) as response:
        assert response.status == status
        assert (await problem(response))["detail"].startswith(named)
    async with door.get("/product/1") as response:
        assert (await response.json())["reviews"]["count"] == 0


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"x"', b"{", b""])
async def test_what_is_no_review_at_all_is_refused(body: bytes, door: Client) -> None:
    headers = {"Content-Type": "application/json"}
    async with door.post("/products/1/reviews", data=body, headers=headers) as response:
        assert response.status == 400
        await problem(response)


async def test_the_longest_review_fits_in_whatever_way_it_is_written(
    door: Client, database: Database
) -> None:
    await open_shop(database, {1: 5})
    async with door.post("/products/1/reviews", json={**REVIEW, "body": "🍌" * 2000}) as response:
        assert response.status == 201
        assert (await response.json())["body"] == "🍌" * 2000


async def test_a_form_of_another_site_cannot_send_a_review(door: Client) -> None:
    async with door.post("/products/1/reviews", data={"rating": "5"}) as response:
        assert response.status == 415
