"""One order through the door, with real servers and a real worker: each answer that docs/http.md promises."""

import asyncio
import gzip
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker

from jobs.dead_letters import DeadLetter
from jobs.orders.requests import MAX_LINES
from tests.asking import PATIENCE_SECONDS, Session, until
from tests.integration.staging import insert, queued, stage_all, staged_count
from tests.integration.web.conftest import WAIT, Client, body, problem
from tests.shop import PRICE_CENTS, an_order, broken_invariants, open_shop
from worker.client import OrderClient, Receipt
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.dead_letters import DeadLetters
from worker.queue.idempotency import stage_once
from worker.web import accepting, bodies


async def test_an_order_is_staged_and_enqueued_and_its_place_is_told(
    door: Client, session: Session, redis: ArqRedis
) -> None:
    order = an_order({1: 1})
    async with door.post("/orders", json=body(order)) as response:
        assert response.status == 202
        assert response.headers["Location"] == f"/orders/{order.order_id}"
        assert "Preference-Applied" not in response.headers
        assert await response.json() == {"status": "accepted", "order_id": str(order.order_id)}
    assert await session.value("SELECT COUNT(*) FROM intake WHERE enqueued_at IS NOT NULL") == 1
    assert await queued(redis) == {str(order.order_id)}


async def test_who_waits_gets_the_outcome(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    async with door.post("/orders", json=body(order), headers=WAIT) as response:
        assert response.status == 200
        assert response.headers["Preference-Applied"] == WAIT["Prefer"]
        assert response.headers["Location"] == f"/orders/{order.order_id}"
        assert await response.json() == {
            "status": "placed",
            "order_id": str(order.order_id),
            "total_cents": 2 * PRICE_CENTS,
        }
    assert await staged_count(session) == 0
    assert not await broken_invariants(database)


async def test_who_has_waited_in_vain_is_told_that_it_is_accepted(door: Client) -> None:
    async with door.post("/orders", json=body(an_order({1: 1})), headers={"Prefer": "wait=1"}) as response:
        assert response.status == 202
        assert response.headers["Preference-Applied"] == "wait=1"


async def test_the_wait_begins_when_the_request_comes_in(
    door: Client, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*arguments: Any) -> Any:
        staged = await stage_once(*arguments)
        await asyncio.sleep(1)
        return staged

    async def too_late(*_: object) -> None:
        raise AssertionError("its time is over")

    monkeypatch.setattr(accepting, "stage_once", slow)
    monkeypatch.setattr(Receipt, "outcome", too_late)
    async with door.post("/orders", json=body(an_order({1: 1})), headers={"Prefer": "wait=1"}) as response:
        assert response.status == 202
        assert response.headers["Preference-Applied"] == "wait=1"
    assert await staged_count(session) == 1


async def test_a_rejected_order_is_an_outcome(door: Client, database: Database, worker: Worker) -> None:
    await open_shop(database, {1: 1})
    async with door.post("/orders", json=body(an_order({1: 2})), headers=WAIT) as response:
        assert response.status == 200
        outcome = await response.json()
        assert (outcome["status"], outcome["reason"]) == ("rejected", "insufficient_stock")
        assert outcome["product_id"] == 1


async def test_an_order_that_is_known_gets_its_first_outcome_at_once(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    order = body(an_order({1: 1}))
    async with door.post("/orders", json=order, headers=WAIT) as response:
        first = await response.json()
    async with door.post(f"/orders/{order['order_id']}/cancel", headers=WAIT) as response:
        assert (await response.json())["status"] == "cancelled"
    async with door.post("/orders", json=order) as response:
        assert response.status == 200
        assert await response.json() == first
    assert await staged_count(session) == 0


async def test_a_repeat_of_a_staged_order_is_accepted_again(
    door: Client, session: Session, redis: ArqRedis
) -> None:
    order = body(an_order({1: 1}))
    for _ in range(3):
        async with door.post("/orders", json=order) as response:
            assert response.status == 202
    assert await staged_count(session) == 1
    assert await redis.zcard("arq:queue") == 1


async def test_other_content_under_the_id_of_a_placed_order_is_a_conflict(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    await open_shop(database, {1: 5, 2: 5})
    order = an_order({1: 1})
    await door.post("/orders", json=body(order), headers=WAIT)
    async with door.post("/orders", json=body(an_order({2: 1}, order_id=order.order_id))) as response:
        assert response.status == 409
        assert str(order.order_id) in (await problem(response))["detail"]
    assert await staged_count(session) == 0


@pytest.mark.parametrize("staged", [None, '"no order"'], ids=["another order", "no order"])
async def test_other_content_under_the_id_of_a_staged_order_is_a_conflict(
    staged: str | None, door: Client, session: Session, redis: ArqRedis
) -> None:
    order = an_order({1: 1})
    await session.run(insert(order, request=staged))
    async with door.post("/orders", json=body(an_order({2: 1}, order_id=order.order_id))) as response:
        assert response.status == 409
    assert await staged_count(session) == 1
    assert not await queued(redis)


async def test_other_content_under_the_id_of_an_order_that_redis_alone_has_is_a_conflict_for_who_waits(
    door: Client, database: Database, client: OrderClient, worker: Worker
) -> None:
    """Nobody can see it while both wait: the database says which was first."""
    await open_shop(database, {1: 5, 2: 5})
    order_id = uuid4()
    receipt = await client.place(an_order({1: 1}, order_id=order_id))
    async with door.post("/orders", json=body(an_order({2: 1}, order_id=order_id)), headers=WAIT) as response:
        placed = (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
        assert response.status == (409 if placed else 200)


async def test_many_at_once_are_one_order_with_one_outcome(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    await open_shop(database, {1: 50})
    order = body(an_order({1: 1}))

    async def post() -> Any:
        async with door.post("/orders", json=order, headers=WAIT) as response:
            assert response.status == 200
            return await response.json()

    outcomes = await asyncio.gather(*(post() for _ in range(8)))
    assert outcomes == [outcomes[0]] * 8
    assert outcomes[0]["status"] == "placed"
    assert await session.value("SELECT available FROM stock") == 49
    assert await session.value("SELECT COUNT(*) FROM orders") == 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"order_id": None}, "order_id"),
        ({"order_id": "7"}, "order_id"),
        ({"customer_id": "1"}, "customer_id"),
        ({"customer_id": 2**63}, "customer_id"),
        ({"customer_id": 1.5}, "customer_id"),
        ({"lines": []}, "lines"),
        ({"lines": [{"product_id": 1, "quantity": 1}] * (MAX_LINES + 1)}, "lines"),
        ({"lines": [{"product_id": 1, "quantity": 10_001}]}, "quantity"),
        ({"placed_at": "0001-01-01T00:00:00+14:00"}, "placed_at"),
        ({"price_cents": 0}, "price_cents"),
    ],
)
async def test_what_is_no_order_is_refused_and_the_field_named(
    changed: dict[str, Any], says: str, door: Client, session: Session, redis: ArqRedis
) -> None:
    async with door.post("/orders", json=body(an_order({1: 1})) | changed) as response:
        assert response.status == 400
        assert says in (await problem(response))["detail"]
    assert not await staged_count(session)
    assert not await queued(redis)


async def test_who_makes_no_order_id_is_told_what_it_is_for(door: Client) -> None:
    order = body(an_order({1: 1}))
    del order["order_id"]
    async with door.post("/orders", json=order) as response:
        assert response.status == 400
        assert "make it yourself" in (await problem(response))["detail"]


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"", {}, 400),
        (b"7", {}, 400),
        (b"null", {}, 400),
        (b"NaN", {}, 400),
        (b'"\\ud800"', {}, 400),
        (b'{"order_id": "\xff"}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, {}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"order_id=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content-Type": ""}, 415),
        (b'{"a":"' + b"x" * wire.MAX_REQUEST_BYTES + b'"}', {}, 413),
        (b'["' + b"x" * wire.MAX_BATCH_BYTES + b'"]', {}, 413),
    ],
)
async def test_a_body_that_is_not_fit_to_be_read_is_refused(
    data: bytes, headers: dict[str, str], status: int, door: Client
) -> None:
    sent = {"Content-Type": "application/json"} | headers
    async with door.post("/orders", data=BytesIO(data), headers=sent) as response:
        assert response.status == status
        assert (await problem(response))["detail"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_not_encoded_as_it_says_is_refused(encoding: str, door: Client) -> None:
    """It comes when the head has been read; else aiohttp answers by itself, and not with a problem."""
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    async with door.post("/orders", data=b"neither", headers=headers, expect100=True) as response:
        assert response.status == 400
        assert "encoded" in (await problem(response))["detail"]


async def test_a_body_that_is_too_large_once_it_is_unpacked_is_refused(door: Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 100 * wire.MAX_BATCH_BYTES)
    assert len(bomb) < wire.MAX_BATCH_BYTES
    async with door.post("/orders", data=BytesIO(bomb), headers=headers) as response:
        assert response.status == 413
        await problem(response)


async def test_a_body_of_unknown_length_is_refused_where_it_gets_too_long(door: Client) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 65536

    async with door.post("/orders", data=endless(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413
        await problem(response)


async def test_a_client_that_sends_its_body_too_slowly_is_told_so(
    door: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.1)
    answered = asyncio.Event()

    async def slow() -> Any:
        yield b"{"
        await answered.wait()

    async with door.post("/orders", data=slow(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 408
        await problem(response)
        answered.set()


async def test_an_order_is_looked_up_with_its_lines_and_both_outcomes(
    door: Client, database: Database, worker: Worker
) -> None:
    await open_shop(database, {1: 5, 2: 5})
    order = an_order({2: 1, 1: 3}).model_copy(update={"placed_at": None})
    await door.post("/orders", json=body(order) | {"placed_at": "2026-01-31T23:00:00+02:00"}, headers=WAIT)
    now = {
        "order_id": str(order.order_id),
        "status": "placed",
        "first_outcome": {"status": "placed", "order_id": str(order.order_id), "total_cents": 400},
        "customer_id": 1,
        "total_cents": 400,
        "placed_at": "2026-01-31T21:00:00Z",
        "lines": [
            {"product_id": 1, "quantity": 3, "unit_price_cents": PRICE_CENTS},
            {"product_id": 2, "quantity": 1, "unit_price_cents": PRICE_CENTS},
        ],
    }
    async with door.get(f"/orders/{order.order_id}") as response:
        assert response.status == 200
        assert await response.json() == now
    await door.post(f"/orders/{order.order_id}/cancel", headers=WAIT)
    async with door.get(f"/orders/{order.order_id}") as response:
        assert await response.json() == now | {"status": "cancelled"}


async def test_a_rejected_order_is_looked_up_with_its_reason(
    door: Client, database: Database, worker: Worker
) -> None:
    await open_shop(database, {1: 1})
    order = an_order({1: 2})
    await door.post("/orders", json=body(order), headers=WAIT)
    async with door.get(f"/orders/{order.order_id}") as response:
        found = await response.json()
    assert (found["status"], found["lines"]) == ("rejected", [])
    assert found["first_outcome"]["reason"] == "insufficient_stock"


async def test_an_order_without_an_outcome_is_looked_up_as_accepted(
    door: Client, session: Session, client: OrderClient
) -> None:
    staged, enqueued = an_order({1: 1}), an_order({1: 1})
    await stage_all(session, [staged])
    await client.place(enqueued)
    for order in (staged, enqueued):
        async with door.get(f"/orders/{order.order_id}") as response:
            assert response.status == 200
            assert await response.json() == {"status": "accepted", "order_id": str(order.order_id)}


async def test_an_order_that_nobody_can_run_is_looked_up_as_dead(
    door: Client, database: Database, session: Session, redis: ArqRedis
) -> None:
    order = an_order({1: 1})
    await stage_all(session, [order])
    letters = DeadLetters(database, redis)
    await letters.bury(
        DeadLetter(
            job_id=str(order.order_id), job="place_order", error="secret", tries=1, buried_at="2026-01-01"
        )
    )
    async with door.get(f"/orders/{order.order_id}") as response:
        found = await response.json()
    assert (response.status, found["status"]) == (200, "dead")
    assert "secret" not in found["error"]


async def test_who_waits_for_an_order_that_nobody_can_run_is_told_that_it_is_accepted(
    door: Client, database: Database, session: Session, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    await session.run("UPDATE customers SET balance_cents = 18446744073709551615 WHERE customer_id = 9")
    order = body(an_order({1: 1}, customer_id=9))
    async with door.post("/orders", json=order, headers=WAIT) as response:
        assert response.status == 202
    async with door.get(f"/orders/{order['order_id']}") as response:
        assert (await response.json())["status"] == "dead"
    async with door.post(f"/orders/{order['order_id']}/cancel") as response:
        assert response.status == 409


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel"), ("POST", "/ship")])
async def test_an_order_that_nobody_knows_is_not_found(method: str, path: str, door: Client) -> None:
    order_id = uuid4()
    async with door.request(method, f"/orders/{order_id}{path}") as response:
        assert response.status == 404
        assert str(order_id) in (await problem(response))["detail"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel"), ("POST", "/ship")])
@pytest.mark.parametrize("order_id", ["7", "x" * 4000, "%00", "%F0%9F%8D%AE"])
async def test_what_is_no_order_id_is_named(method: str, path: str, order_id: str, door: Client) -> None:
    async with door.request(method, f"/orders/{order_id}{path}") as response:
        assert response.status == 400
        assert "order_id" in (await problem(response))["detail"]


@pytest.mark.parametrize(
    ("asked", "then", "refused"),
    [("cancel", "cancelled", "already_cancelled"), ("ship", "shipped", "already_shipped")],
)
async def test_an_order_is_cancelled_or_shipped_once(
    asked: str, then: str, refused: str, door: Client, database: Database, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    order_id = await placed(door)
    for _ in range(2):
        async with door.post(f"/orders/{order_id}/{asked}", headers=WAIT) as response:
            assert response.status == 200
            assert await response.json() == {"status": then, "order_id": str(order_id)}
    other = "ship" if asked == "cancel" else "cancel"
    async with door.post(f"/orders/{order_id}/{other}", headers=WAIT) as response:
        assert response.status == 200, "a rule that says no is an outcome"
        assert (await response.json())["status"] == refused


async def test_who_does_not_wait_for_a_cancellation_is_told_where_to_look(
    door: Client, database: Database, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    order_id = await placed(door)
    async with door.post(f"/orders/{order_id}/cancel") as response:
        assert response.status == 202
        assert await response.json() == {"status": "accepted", "order_id": str(order_id)}
        place = response.headers["Location"]

    async def cancelled() -> bool:
        async with door.get(place) as response:
            return bool((await response.json())["status"] == "cancelled")

    await until(cancelled, "the order to be cancelled")


async def test_an_order_without_an_outcome_is_not_cancelled_in_vain(door: Client, session: Session) -> None:
    """A worker that came to the cancellation first would say that there is no such order."""
    order = an_order({1: 1})
    await stage_all(session, [order])
    async with door.post(f"/orders/{order.order_id}/cancel") as response:
        assert response.status == 409
        assert "no outcome yet" in (await problem(response))["detail"]


async def test_an_order_that_is_purged_before_it_is_cancelled_is_not_found(
    door: Client, database: Database, worker: Worker, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_shop(database, {1: 5})
    order_id = await placed(door)
    cancel = OrderClient.cancel

    async def after_a_purge(client: OrderClient, asked: UUID) -> Any:
        for table in ("order_lines", "orders"):
            await session.run(f"DELETE FROM {table}")
        return await cancel(client, asked)

    monkeypatch.setattr(OrderClient, "cancel", after_a_purge)
    async with door.post(f"/orders/{order_id}/cancel", headers=WAIT) as response:
        assert response.status == 404


async def placed(door: Client) -> UUID:
    order = an_order({1: 1})
    async with door.post("/orders", json=body(order), headers=WAIT) as response:
        assert (await response.json())["status"] == "placed"
    return order.order_id
