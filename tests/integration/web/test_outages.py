"""The door while a server is away: what is accepted then, and what is not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient, TestServer
from arq.connections import ArqRedis
from arq.worker import Worker

from tests.asking import Session
from tests.integration.conftest import MakeIntake
from tests.integration.staging import OVERDUE, queued, stage_all, staged_count, until_none_is_staged
from tests.integration.web.conftest import WAIT, Client, body, problem
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, open_shop
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue import wire
from worker.settings import Settings
from worker.web import accepting, busy
from worker.web.application import make_application

NOBODY = "127.0.0.1:1"


@asynccontextmanager
async def opened(settings: Settings, **changed: str) -> AsyncIterator[Client]:
    application = make_application(settings.model_copy(update=changed), is_open=True)
    async with TestClient(TestServer(application)) as client:
        yield client


@pytest.fixture
async def without_redis(settings: Settings) -> AsyncIterator[Client]:
    async with opened(settings, redis_url=f"redis://{NOBODY}/0") as client:
        yield client


@pytest.fixture
async def without_database(settings: Settings) -> AsyncIterator[Client]:
    async with opened(settings, mysql_url=f"mysql://u:secret@{NOBODY}/x") as client:
        yield client


@pytest.mark.parametrize("headers", [{}, WAIT], ids=["", "wait"])
async def test_while_redis_is_down_orders_are_accepted_and_placed_later(
    headers: dict[str, str],
    without_redis: Client,
    database: Database,
    session: Session,
    make_intake: MakeIntake,
    worker: Worker,
) -> None:
    await open_shop(database, {1: 5})
    orders = [an_order({1: 1}) for _ in range(3)]
    async with without_redis.post("/orders", json=body(orders[0]), headers=headers) as response:
        assert response.status == 202
        assert "Retry-After" not in response.headers, "that the workers are behind is not known"
    async with without_redis.post("/orders", json=[*map(body, orders)], headers=headers) as response:
        assert response.status == 202
        assert {entry["status"] for entry in await response.json()} == {"accepted"}
    assert await staged_count(session) == 3
    await session.run(OVERDUE)
    make_intake()
    await until_none_is_staged(session)
    async with without_redis.get(f"/orders/{orders[0].order_id}") as response:
        assert (await response.json())["status"] == "placed"


async def test_while_redis_is_full_an_order_is_accepted(
    door: Client, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> list[bool]:
        raise LockstepError("Redis has no memory left")

    monkeypatch.setattr(wire, "enqueue", full)
    async with door.post("/orders", json=body(an_order({1: 1})), headers=WAIT) as response:
        assert response.status == 202
    assert await staged_count(session) == 1


async def test_a_redis_that_says_nothing_is_not_waited_for(
    settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "QUEUE_SECONDS", 0.2)
    monkeypatch.setattr(busy, "ANSWER_SECONDS", 0.2)
    before = Door(settings.redis_url)
    before.swallows = True
    async with (
        before.stand() as url,
        opened(settings, redis_url=url) as client,
        client.post("/orders", json=body(an_order({1: 1})), headers=WAIT) as response,
    ):
        assert response.status == 202
    assert await staged_count(session) == 1


async def test_while_redis_is_down_what_needs_it_is_told_to_come_again(
    without_redis: Client, database: Database, session: Session, door: Client, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    staged, placed = an_order({1: 1}), an_order({1: 1})
    await door.post("/orders", json=body(placed), headers=WAIT)
    await stage_all(session, [staged])
    for method, path, status in [
        ("GET", f"/orders/{placed.order_id}", 200),
        ("GET", f"/orders/{staged.order_id}", 200),
        ("GET", f"/orders/{uuid4()}", 503),
        ("POST", f"/orders/{placed.order_id}/cancel", 503),
    ]:
        async with without_redis.request(method, path) as response:
            assert response.status == status, path
            if status == 503:
                assert int(response.headers["Retry-After"]) >= 1
                await problem(response)


async def test_while_the_database_is_down_nothing_is_accepted(
    without_database: Client, session: Session, redis: ArqRedis
) -> None:
    order = an_order({1: 1})
    for content in (body(order), [body(order)]):
        async with without_database.post("/orders", json=content, headers=WAIT) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert "secret" not in (await problem(response))["detail"]
    assert not await staged_count(session)
    assert not await queued(redis)


async def test_while_the_database_is_down_nobody_is_taken_for_a_key_holder(settings: Settings) -> None:
    down = settings.model_copy(update={"mysql_url": f"mysql://u:p@{NOBODY}/x"})
    async with TestClient(TestServer(make_application(down))) as client:
        for headers in ({}, {"Authorization": "Bearer x"}):
            async with client.get(f"/orders/{uuid4()}", headers=headers) as response:
                assert response.status == 503
