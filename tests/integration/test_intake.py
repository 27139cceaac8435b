"""Staged orders end in the transaction of their outcome, whatever it is."""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
import structlog
from arq.connections import ArqRedis
from arq.worker import Worker

from jobs.dead_letters import dead_letters_of
from jobs.orders.place_orders import place_orders
from jobs.orders.requests import PlaceOrder
from jobs.sweep_intake import Work, find_work
from jobs.transaction import Transaction
from tests.asking import PATIENCE_SECONDS, Session, until
from tests.integration.conftest import MakeIntake, MakeWorker, running
from tests.integration.staging import (
    insert,
    queued,
    result_of,
    stage_all,
    staged_count,
    until_none_is_staged,
    until_queued,
)
from tests.shop import an_order, broken_invariants, open_shop
from tests.suite.sample import size
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import idempotency, wire
from worker.queue import intake as module
from worker.queue.idempotency import place_once
from worker.settings import Settings

MANY: Final = size(2000, 5000)


async def test_a_staged_order_is_placed_and_a_rolled_back_one_is_not(
    database: Database, session: Session, worker: Worker, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    order, undone, too_large = an_order({1: 1}), an_order({1: 1}), an_order({1: 6})
    make_intake()
    await session.run("BEGIN")
    await session.run(insert(undone))
    await session.run("ROLLBACK")
    await session.run(insert(order))
    await session.run(insert(too_large))
    assert (await result_of(redis, order.order_id))["status"] == "placed"
    assert (await result_of(redis, too_large.order_id))["status"] == "rejected"
    assert await staged_count(session) == 0
    assert await session.value("SELECT COUNT(*) FROM orders") == 2
    assert not await broken_invariants(database)


@pytest.mark.both_isolations
async def test_effect_and_acknowledgement_are_one_commit(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    await session.run(insert(order))

    async def fail_at_the_end(transaction: Transaction) -> None:
        await place_orders(transaction, [order], staged={order.order_id})
        assert await staged_count(session) == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transact(fail_at_the_end, job="test")
    assert await staged_count(session) == 1
    assert await session.value("SELECT COUNT(*) FROM orders") == 0


@pytest.mark.both_isolations
async def test_no_row_is_deleted_that_is_not_there(
    database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look for it would lock the gap where others stage."""
    await open_shop(database, {1: 5})
    staged, direct = an_order({1: 1}), an_order({1: 1})
    await session.run(insert(staged))
    ended: list[set[UUID]] = []

    async def noting(
        transaction: Transaction, orders: Sequence[PlaceOrder], *, staged: set[UUID], **others: Any
    ) -> object:
        ended.append(staged)
        return await place_orders(transaction, orders, staged=staged, **others)

    monkeypatch.setattr(idempotency, "place_orders", noting)
    await place_once(database, [staged, direct], job="test")
    assert ended == [{staged.order_id}]
    assert await staged_count(session) == 0


async def test_an_order_that_comes_directly_ends_its_staged_row_as_well(
    database: Database, session: Session, worker: Worker, client: OrderClient
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    await session.run(insert(order))
    receipt = await client.place(order)
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await staged_count(session) == 0


async def test_an_order_that_is_known_ends_without_a_job_and_other_content_is_a_conflict(
    database: Database,
    session: Session,
    worker: Worker,
    client: OrderClient,
    make_intake: MakeIntake,
    redis: ArqRedis,
) -> None:
    await open_shop(database, {1: 5})
    known, clashing = an_order({1: 1}), an_order({1: 1})
    for order in (known, clashing):
        await (await client.place(order)).outcome(timeout=PATIENCE_SECONDS)
    await redis.flushdb()
    await session.run(insert(known))
    await session.run(insert(an_order({1: 2}, order_id=clashing.order_id)))
    with structlog.testing.capture_logs() as logs:
        make_intake()
        assert (await result_of(redis, known.order_id))["status"] == "placed"
        assert (await result_of(redis, clashing.order_id))["status"] == "conflict"
    assert await staged_count(session) == 0
    (refused,) = [log for log in logs if log["event"] == "staged order refused"]
    assert refused["order_id"] == str(clashing.order_id)
    assert worker.jobs_complete == 2


NO_ORDERS = ["[]", "7", '"x"', "null", "{}", '{"order_id": "x", "customer_id": 1, "lines": []}']


async def test_what_is_no_order_is_buried_and_its_neighbours_are_placed(
    database: Database, session: Session, worker: Worker, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 50})
    wrong = {uuid4(): request for request in NO_ORDERS}
    other = an_order({1: 1})
    wrong[uuid4()] = other.model_dump_json(exclude_none=True)
    neighbours = [an_order({1: 1}) for _ in wrong]
    for neighbour, (order_id, request) in zip(neighbours, wrong.items(), strict=True):
        await session.run(insert(other, under=order_id, request=request))
        await session.run(insert(neighbour))
    with structlog.testing.capture_logs() as logs:
        make_intake()
        for order_id in wrong:
            assert (await result_of(redis, order_id))["status"] == "invalid"
    for neighbour in neighbours:
        assert (await result_of(redis, neighbour.order_id))["status"] == "placed"
    assert await staged_count(session) == 0
    assert await session.value("SELECT COUNT(*) FROM orders") == len(neighbours)
    refused = {log["order_id"]: log["outcome"] for log in logs if log["event"] == "staged order refused"}
    assert set(refused) == set(map(str, wrong))
    letters = [letter for order_id in wrong for letter in await dead_letters_of(database, str(order_id))]
    assert {letter.job_id: letter.request for letter in letters} == {
        str(order_id): json.loads(request) for order_id, request in wrong.items()
    }
    assert {letter.job_id: letter.error for letter in letters} == {
        order_id: outcome["error"] for order_id, outcome in refused.items()
    }


async def test_an_order_that_was_invalid_can_be_staged_again_when_it_is_mended(
    database: Database, session: Session, worker: Worker, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    make_intake()
    await session.run(insert(order, request="{}"))
    assert (await result_of(redis, order.order_id))["status"] == "invalid"
    await session.run(insert(order))

    async def placed() -> bool:
        return bool(await session.value("SELECT COUNT(*) FROM orders"))

    await until(placed, "the mended order")


async def test_the_next_look_after_its_commit_enqueues_an_order_and_looks_are_half_a_second_apart_at_most(
    session: Session, make_intake: MakeIntake, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, so that the sweeper rests before each. A look that began before the commit may miss it."""
    looks, rests, enqueued_by = 0, set[float](), dict[str, int]()
    find, enqueue = find_work, wire.enqueue_afresh

    async def looking(database: Database, seconds: int) -> Work:
        nonlocal looks
        looks += 1
        return await find(database, seconds)

    async def enqueuing(pool: ArqRedis, messages: list[wire.Message]) -> list[bool]:
        enqueued_by.update({message.job_id: looks for message in messages})
        return await enqueue(pool, messages)

    def resting(seconds: float) -> asyncio.Timeout:
        rests.add(seconds)
        return asyncio.timeout(seconds)

    monkeypatch.setattr(module, "find_work", looking)
    monkeypatch.setattr(wire, "enqueue_afresh", enqueuing)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "timeout": resting}))
    make_intake()
    for count in range(1, 11):
        order = an_order({1: 1})
        await session.run(insert(order))
        committed_in = looks
        await until_queued(redis, count)
        assert enqueued_by[str(order.order_id)] <= committed_in + 1
    rests.discard(0)  # after a look that has found something
    assert min(rests) == module.LOOK_SECONDS == 0.1
    assert max(rests) <= module.SELDOM_SECONDS == 0.5, "as the README says"


@pytest.mark.both_isolations
@pytest.mark.sampled(2, inside=True)
async def test_redis_forgets_everything_amid_many_staged_orders_and_none_is_lost(
    database: Database,
    settings: Settings,
    session: Session,
    other_session: Session,
    make_worker: MakeWorker,
    make_intake: MakeIntake,
    redis: ArqRedis,
) -> None:
    """Two workers and two sweepers; Redis is emptied before they start and twice amid it, and orders come directly as well."""
    await open_shop(database, dict.fromkeys(range(1, 50), 100_000))
    orders = [an_order({1 + number % 49: 1, 1 + (number * 7 + 1) % 49: 2}) for number in range(MANY)]
    crew = [make_worker(database, burst=False) for _ in range(2)]

    async def placed(count: int) -> bool:
        return bool(await session.value("SELECT COUNT(*) FROM orders") >= count)

    async def enqueued(count: int) -> bool:
        return len(await queued(redis)) >= count

    with structlog.testing.capture_logs() as logs:
        intakes = [make_intake(overdue_seconds=1) for _ in range(2)]
        for start in range(0, MANY, 500):
            await stage_all(other_session, orders[start : start + 500])
        await until(partial(enqueued, MANY // 5), "a fifth of the orders in the queue")
        await redis.flushdb()
        async with running(crew[0]), running(crew[1]), OrderClient.connect(settings.redis_url) as client:
            async for _ in client.place_many(orders[-1000:-500]):
                pass
            for count in (MANY // 5, MANY // 2):
                await until(partial(placed, count), f"{count} orders")
                await redis.flushdb()
            await until_none_is_staged(session)
            for intake in intakes:
                await intake.stop()
    assert await session.value("SELECT COUNT(*) FROM orders") == MANY
    assert await session.value("SELECT COUNT(*) FROM orders WHERE status = 'placed'") == MANY
    assert not await broken_invariants(database)
    assert [log for log in logs if log["event"] in {"bug", "conflict"}] == []
    assert sum(log["orders"] for log in logs if log["event"].startswith("Redis had lost")) >= MANY // 5
