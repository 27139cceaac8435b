"""The door while jobs wait for a worker for longer than LOCKSTEP_BUSY_SECONDS, and afterwards."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import pytest
from aiohttp.test_utils import TestClient, TestServer
from arq.connections import ArqRedis
from schemathesis.checks import not_a_server_error

from jobs.orders.requests import PlaceOrder
from tests.asking import PATIENCE_SECONDS, Session
from tests.integration.conftest import MakeWorker, running
from tests.integration.patience import NEVER
from tests.integration.staging import queued, staged_count
from tests.integration.web.conftest import WAIT, Client, body, problem
from tests.integration.web.test_conformance import CHECKS, schema
from tests.shop import an_order, open_shop
from worker import metrics
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue.backlog import read_waiting_seconds
from worker.queue.idempotency import place_once
from worker.settings import Settings
from worker.web import busy, servers
from worker.web.application import make_application
from worker.web.busy import MOST_RETRY_SECONDS

LIMIT_SECONDS: Final = 1800  # no pause of the machine comes near it
OLD_SECONDS: Final = 3600
DESCRIBED: Final = [check for check in CHECKS if check is not not_a_server_error]  # 503 is meant


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What each look at the queue has found."""
    found: list[float] = []

    async def noting(redis: ArqRedis, recovery_seconds: float) -> float:
        found.append(await read_waiting_seconds(redis, recovery_seconds))
        return found[-1]

    monkeypatch.setattr(servers, "read_waiting_seconds", noting)
    return found


@pytest.fixture
async def door(
    settings: Settings, looks: list[float], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    """One whose every request looks at the queue again, unless others look at that moment."""
    monkeypatch.setattr(busy, "LOOK_SECONDS", 0)
    limited = settings.model_copy(update={"busy_seconds": LIMIT_SECONDS})
    async with TestClient(TestServer(make_application(limited, is_open=True))) as opened:
        yield opened


@pytest.fixture
async def waiting(redis: ArqRedis, client: OrderClient, database: Database) -> PlaceOrder:
    """An order that has waited for a worker for an hour."""
    await open_shop(database, {1: 50})
    order = an_order({1: 1})
    await client.place(order)
    await put_back(redis, order)
    return order


async def put_back(redis: ArqRedis, order: PlaceOrder, seconds: float = OLD_SECONDS) -> None:
    """Its job has been due for so long."""
    now, _ = await redis.time()
    assert await redis.zadd("arq:queue", {str(order.order_id): 1000 * (now - seconds)}, xx=True, ch=True)


def counted() -> int:
    return sum(metrics.totals(metrics.BUSY, "request").values())


async def test_a_new_order_is_staged_and_answered_at_once(
    door: Client, waiting: PlaceOrder, session: Session, redis: ArqRedis
) -> None:
    order, before = an_order({1: 1}), counted()
    async with door.post("/orders", json=body(order), headers=WAIT) as response:
        assert response.status == 202
        assert response.headers["Retry-After"] == str(MOST_RETRY_SECONDS)
        assert response.headers["Location"] == f"/orders/{order.order_id}"
        assert "Preference-Applied" not in response.headers
        assert await response.json() == {"status": "accepted", "order_id": str(order.order_id)}
    assert await staged_count(session) == 1
    assert await queued(redis) == {str(waiting.order_id), str(order.order_id)}
    assert counted() == before + 1


async def test_an_array_with_a_new_order_is_answered_at_once_with_the_outcomes_that_are_known(
    door: Client, waiting: PlaceOrder, database: Database, session: Session
) -> None:
    known, new = an_order({1: 1}), an_order({1: 1})
    await place_once(database, [known], job="test")
    async with door.post("/orders", json=[body(known), body(new)], headers=WAIT) as response:
        assert response.status == 202
        assert "Retry-After" in response.headers
        assert [each["status"] for each in await response.json()] == ["placed", "accepted"]
    assert await staged_count(session) == 1


async def test_a_repeat_of_an_order_that_has_its_outcome_gets_it(
    door: Client, waiting: PlaceOrder, database: Database, looks: list[float]
) -> None:
    order = an_order({1: 1})
    (outcome,) = await place_once(database, [order], job="test")
    first = outcome.model_dump(mode="json")
    for sent, told in [(body(order), first), ([body(order)], [first])]:
        async with door.post("/orders", json=sent, headers=WAIT) as response:
            assert response.status == 200
            assert "Retry-After" not in response.headers
            assert await response.json() == told
    assert not looks


async def test_a_repeat_of_an_order_that_waits_adds_no_work_and_waits_for_the_outcome(
    door: Client, waiting: PlaceOrder, database: Database, make_worker: MakeWorker, looks: list[float]
) -> None:
    order = body(an_order({1: 1}))
    async with door.post("/orders", json=order, headers=WAIT) as response:
        assert response.status == 202
    looks.clear()
    repeat = asyncio.ensure_future(door.post("/orders", json=order, headers=WAIT))
    await make_worker(database).main()
    async with await repeat as response:
        assert response.status == 200
        assert response.headers["Preference-Applied"] == WAIT["Prefer"]
        assert (await response.json())["status"] == "placed"
    assert not looks


@pytest.mark.parametrize("asked", ["cancel", "ship"])
async def test_what_changes_a_placed_order_is_refused_and_not_enqueued(
    asked: str, door: Client, waiting: PlaceOrder, database: Database, redis: ArqRedis
) -> None:
    order = an_order({1: 1})
    await place_once(database, [order], job="test")
    async with door.post(f"/orders/{order.order_id}/{asked}", headers=WAIT) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == str(MOST_RETRY_SECONDS)
        assert "workers are behind" in (await problem(response))["detail"]
    assert await queued(redis) == {str(waiting.order_id)}


@pytest.mark.parametrize("first", ["cancel", "ship", "reject"])
@pytest.mark.parametrize("asked", ["cancel", "ship"])
async def test_what_changes_nothing_gets_the_answer_of_a_worker_without_one(
    first: str,
    asked: str,
    door: Client,
    client: OrderClient,
    database: Database,
    redis: ArqRedis,
    make_worker: MakeWorker,
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 9 if first == "reject" else 1})
    await place_once(database, [order], job="test")
    asks = {"cancel": client.cancel, "ship": client.ship}
    if first != "reject":
        await asks[first](order.order_id)
        await make_worker(database).main()
    receipt = await asks[asked](order.order_id)
    await make_worker(database).main()
    by_a_worker = (await receipt.outcome()).model_dump(mode="json", exclude_none=True)
    blocking = an_order({1: 1})
    await client.place(blocking)
    await put_back(redis, blocking)
    async with door.post(f"/orders/{order.order_id}/{asked}") as response:
        assert response.status == 200
        assert {name: value for name, value in (await response.json()).items() if value} == by_a_worker
    assert await queued(redis) == {str(blocking.order_id)}


async def test_what_is_answered_meanwhile_is_described(
    door: Client, waiting: PlaceOrder, database: Database
) -> None:
    known, new = an_order({1: 1}), an_order({1: 1})
    await place_once(database, [known], job="test")
    place = schema["/orders"]["POST"].Case(headers=WAIT, body=body(new), media_type="application/json")
    path = {"order_id": str(known.order_id)}
    cancel = schema["/orders/{order_id}/cancel"]["POST"].Case(headers=WAIT, path_parameters=path)
    for case, status in [(place, 202), (cancel, 503)]:
        checked = partial(case.call_and_validate, checks=DESCRIBED, timeout=PATIENCE_SECONDS)
        answered = await asyncio.to_thread(checked, base_url=str(door.make_url("")))
        assert answered.status_code == status


async def test_reads_are_answered_as_ever_and_nobody_looks_at_the_queue(
    door: Client, waiting: PlaceOrder, looks: list[float]
) -> None:
    for path in (f"/orders/{waiting.order_id}", "/product/1", "/products", "/readyz", "/healthz"):
        async with door.get(path) as response:
            assert response.status == 200
            assert "Retry-After" not in response.headers
    assert not looks


async def test_when_the_backlog_is_gone_requests_wait_again(
    door: Client, waiting: PlaceOrder, database: Database, make_worker: MakeWorker
) -> None:
    async with door.post("/orders", json=body(an_order({1: 1})), headers=WAIT) as response:
        assert response.status == 202
    await make_worker(database).main()
    async with (
        running(make_worker(database, burst=False)),
        door.post("/orders", json=body(an_order({1: 1})), headers=WAIT) as response,
    ):
        assert response.status == 200
        assert "Retry-After" not in response.headers


async def test_a_young_backlog_and_jobs_for_later_keep_no_request_from_waiting(
    door: Client, waiting: PlaceOrder, redis: ArqRedis
) -> None:
    for seconds in (LIMIT_SECONDS / 2, -OLD_SECONDS):
        await put_back(redis, waiting, seconds)
        order = body(an_order({1: 1}))
        async with door.post("/orders", json=order, headers={"Prefer": "wait=1"}) as response:
            assert response.status == 202
            assert response.headers["Preference-Applied"] == "wait=1"
            assert "Retry-After" not in response.headers


async def test_many_requests_share_one_look(
    door: Client, waiting: PlaceOrder, looks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "LOOK_SECONDS", NEVER)
    assert not looks, "nobody has asked for anything yet"

    async def post() -> bool:
        async with door.post("/orders", json=body(an_order({1: 1})), headers=WAIT) as response:
            return response.status == 202 and "Retry-After" in response.headers

    assert all(await asyncio.gather(*(post() for _ in range(50))))
    assert len(looks) == 1
    assert await post()
    assert len(looks) == 1
