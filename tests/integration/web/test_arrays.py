"""Many orders in one request: all are valid, or none is accepted; what becomes of each is told in its place."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker

from jobs.orders.requests import MAX_ORDERS
from tests.asking import Session, until_waiting
from tests.integration.staging import queued, stage_all, staged_count
from tests.integration.web.conftest import WAIT, Client, body, problem
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database


async def test_an_array_is_accepted_in_its_order(door: Client, session: Session, redis: ArqRedis) -> None:
    orders = [an_order({1: 1}) for _ in range(MAX_ORDERS)]
    async with door.post("/orders", json=[*map(body, orders)]) as response:
        assert response.status == 202
        assert "Location" not in response.headers
        assert await response.json() == [
            {"status": "accepted", "order_id": str(order.order_id)} for order in orders
        ]
    assert await staged_count(session) == MAX_ORDERS
    assert await redis.zcard("arq:queue") == 5, "jobs of a hundred"


async def test_who_waits_gets_all_outcomes(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    orders = [an_order({1: 1}), an_order({1: 9}), an_order({2: 1}), an_order({1: 1}, customer_id=10)]
    async with door.post("/orders", json=[*map(body, orders)], headers=WAIT) as response:
        assert response.status == 200
        outcomes = await response.json()
    assert [(outcome["order_id"], outcome["status"], outcome.get("reason")) for outcome in outcomes] == [
        (str(orders[0].order_id), "placed", None),
        (str(orders[1].order_id), "rejected", "insufficient_stock"),
        (str(orders[2].order_id), "rejected", "unknown_product"),
        (str(orders[3].order_id), "rejected", "unknown_customer"),
    ]
    assert await staged_count(session) == 0


async def test_each_order_of_an_array_gets_what_it_would_get_alone(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    await open_shop(database, {1: 50, 2: 50})
    placed, staged, new = an_order({1: 1}), an_order({1: 2}), an_order({1: 3})
    await door.post("/orders", json=body(placed), headers=WAIT)
    await stage_all(session, [staged])
    asked = [
        placed,
        staged,
        new,
        an_order({2: 1}, order_id=placed.order_id),
        an_order({2: 1}, order_id=staged.order_id),
        new,
        an_order({2: 1}, order_id=new.order_id),
    ]
    async with door.post("/orders", json=[*map(body, asked)], headers=WAIT) as response:
        assert response.status == 200
        outcomes = await response.json()
    assert [outcome["status"] for outcome in outcomes] == ["placed"] * 3 + ["conflict"] * 2 + [
        "placed",
        "conflict",
    ]
    assert outcomes[3] == {"status": "conflict", "id": str(placed.order_id)}
    assert outcomes[5] == outcomes[2]
    assert await session.value("SELECT available FROM stock WHERE product_id = 2") == 50
    assert not await broken_invariants(database)


async def test_one_invalid_order_and_none_is_accepted(
    door: Client, session: Session, redis: ArqRedis
) -> None:
    orders: list[Any] = [body(an_order({1: 1})) for _ in range(5)]
    orders[1]["customer_id"] = 0
    del orders[3]["order_id"]
    orders[4] = None
    async with door.post("/orders", json=orders) as response:
        assert response.status == 400
        told = await problem(response)
    assert [error["index"] for error in told["errors"]] == [1, 3, 4]
    assert "customer_id" in told["errors"][0]["detail"]
    assert "make it yourself" in told["errors"][1]["detail"]
    assert "3 of 5 orders" in told["detail"]
    assert not await staged_count(session)
    assert not await queued(redis)


@pytest.mark.parametrize("count", [0, MAX_ORDERS + 1])
async def test_an_array_has_a_length(count: int, door: Client, session: Session) -> None:
    async with door.post("/orders", json=[body(an_order({1: 1}))] * count) as response:
        assert response.status == 400
        assert f"1 to {MAX_ORDERS} orders, not {count}" in (await problem(response))["detail"]


async def test_an_array_has_so_many_lines_at_most(door: Client) -> None:
    """Also where none of them is one: else it would take seconds to say what is wrong with each."""
    order = body(an_order({1: 1})) | {"lines": [{}] * 500}
    async with door.post("/orders", json=[order] * 41) as response:
        assert response.status == 400
        assert (await problem(response))["detail"] == "an array has 20000 lines at most, not 20500"


async def test_arrays_that_share_orders_are_all_accepted(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    """Whoever stages an order second looks again, and the others of its array are staged."""
    await open_shop(database, {1: 1000})
    orders = [body(an_order({1: 1})) for _ in range(30)]
    mixed = random.Random(7)

    async def post(some: list[Any]) -> None:
        async with door.post("/orders", json=some, headers=WAIT) as response:
            assert response.status == 200
            assert {outcome["status"] for outcome in await response.json()} == {"placed"}

    await asyncio.gather(*(post(mixed.sample(orders, 20)) for _ in range(12)))
    async with door.post("/orders", json=orders, headers=WAIT) as response:
        assert response.status == 200
    assert await session.value("SELECT COUNT(*) FROM orders") == 30
    assert await session.value("SELECT available FROM stock") == 970


async def test_an_order_that_another_stages_in_this_moment_fails_no_other_and_locks_no_gap(
    door: Client, session: Session, other_session: Session
) -> None:
    """It is inserted, and not committed yet: the request waits for it, and looks again. Others insert beside it."""
    first, middle, beside, last = (an_order({1: 1}, order_id=UUID(int=number)) for number in (1, 5, 4, 9))
    await session.run("BEGIN")
    await stage_all(session, [middle])
    posted = asyncio.create_task(door.post("/orders", json=[*map(body, (first, middle, last))]))
    await until_waiting(other_session, 1)
    await other_session.run("SET innodb_lock_wait_timeout = 1")
    await stage_all(other_session, [beside])
    await session.run("COMMIT")
    async with await posted as response:
        assert response.status == 202
    assert await staged_count(session) == 4
