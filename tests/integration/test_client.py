"""OrderClient against a running worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from arq.worker import Worker

from jobs.contract import Conflict
from jobs.orders.requests import PlaceOrder
from tests.asking import PATIENCE_SECONDS, Session, until
from tests.integration.conftest import MakeWorker, running, until_full
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient, Restock
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue import wire
from worker.settings import Settings


async def test_a_receipt_gives_the_outcome(client: OrderClient, worker: Worker, database: Database) -> None:
    await open_shop(database, {1: 5})
    receipt = await client.place(an_order({1: 2}))
    assert not receipt.known
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed", "it may be asked again"


async def test_every_request_has_its_outcome(client: OrderClient, worker: Worker, database: Database) -> None:
    await open_shop(database, {1: 5})
    order, shipped = an_order({1: 2}), an_order({1: 1})
    for each in (order, shipped):
        await (await client.place(each)).outcome(timeout=PATIENCE_SECONDS)
    statuses = [
        (await receipt.outcome(timeout=PATIENCE_SECONDS)).status
        for receipt in (
            await client.cancel(order.order_id),
            await client.ship(shipped.order_id),
            await client.restock(Restock(restock_id=uuid4(), product_id=1, quantity=5)),
        )
    ]
    assert statuses == ["cancelled", "shipped", "restocked"]
    assert not await broken_invariants(database)


async def test_many_orders_are_sent_in_chunks_and_each_has_a_receipt(
    client: OrderClient, worker: Worker, database: Database
) -> None:
    await open_shop(database, {1: 1000})
    orders = [an_order({1: 1}) for _ in range(250)]

    async def stream() -> AsyncIterator[PlaceOrder]:
        for order in orders:
            yield order

    receipts = [receipt async for receipt in client.place_many(stream())]
    assert [receipt.message.job_id for receipt in receipts] == [str(order.order_id) for order in orders]
    outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
    assert {outcome.status for outcome in outcomes} == {"placed"}
    again = [receipt.known async for receipt in client.place_many(orders)]
    assert all(again)
    assert await client.queued() == 0


async def test_place_many_waits_while_the_queue_is_full(
    settings: Settings, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 1000})
    async with OrderClient.connect(settings.redis_url, max_queued=100) as client:
        sent: list[str] = []

        async def send() -> None:
            async for receipt in client.place_many([an_order({1: 1}) for _ in range(200)]):
                sent.append(receipt.message.job_id)  # noqa: PERF401  # counted while it grows

        task = asyncio.create_task(send())

        async def full() -> bool:
            return len(sent) == 100

        await until(full, "the queue to be full")
        await until_full(redis)
        assert not task.done()
        assert len(sent) == 100
        async with running(make_worker(database, burst=False)):
            await task
        assert len(sent) == 200


async def test_the_same_order_again_is_known(client: OrderClient, worker: Worker, database: Database) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    first = await (await client.place(order)).outcome(timeout=PATIENCE_SECONDS)
    again = await client.place(order)
    assert again.known
    assert await again.outcome(timeout=PATIENCE_SECONDS) == first


async def test_other_content_under_a_known_id_is_a_conflict(
    client: OrderClient, worker: Worker, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    await (await client.place(order)).outcome(timeout=PATIENCE_SECONDS)
    receipt = await client.place(an_order({1: 3}, order_id=order.order_id))
    assert await receipt.outcome(timeout=PATIENCE_SECONDS) == Conflict(id=order.order_id)
    assert await session.value("SELECT available FROM stock") == 3


async def test_an_outcome_that_redis_has_forgotten_is_the_same_again(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    receipt = await client.place(order)
    first = await receipt.outcome(timeout=PATIENCE_SECONDS)
    await redis.flushdb()
    assert await receipt.outcome(timeout=PATIENCE_SECONDS) == first
    await redis.flushdb()
    changed = await client.place(an_order({1: 3}, order_id=order.order_id))
    assert await changed.outcome(timeout=PATIENCE_SECONDS) == Conflict(id=order.order_id)
    assert not await broken_invariants(database)


async def test_an_id_that_only_an_unreadable_message_has_used_is_free(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    order, other = an_order({1: 2}), an_order({1: 1})
    await redis.enqueue_job("place_order", {"order_id": "?"}, _job_id=str(order.order_id))
    await redis.enqueue_job("place_order", {}, {}, _job_id=str(other.order_id))
    for each in (order, other):
        assert (await (await client.place(each)).outcome(timeout=PATIENCE_SECONDS)).status == "placed"


async def test_no_worker_is_said_in_a_sentence(client: OrderClient, database: Database) -> None:
    order = an_order({1: 2})
    receipt = await client.place(order)
    with pytest.raises(TimeoutError, match=f"place_order {order.order_id} has no outcome after 0.1 s"):
        await receipt.outcome(timeout=0.1)
    assert await client.queued() == 1


async def test_a_failure_that_a_frozen_worker_wrote_over_the_outcome_is_asked_again(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    receipt = await client.place(order)
    first = await receipt.outcome(timeout=PATIENCE_SECONDS)
    failed = {
        "t": 1,
        "f": "place_order",
        "a": [{}],
        "k": {},
        "et": 1,
        "s": False,
        "r": "late",
        "st": 1,
        "ft": 1,
    }
    await redis.set(result_key_prefix + str(order.order_id), wire.serialize(failed))
    assert await receipt.outcome(timeout=PATIENCE_SECONDS) == first


async def test_a_job_that_arq_gives_up_again_and_again_is_said_in_a_sentence(
    client: OrderClient, redis: ArqRedis
) -> None:
    async def other(ctx: dict[Any, Any]) -> None:
        """The only job that this worker knows."""

    stranger = Worker(
        [other], redis_pool=redis, handle_signals=False, poll_delay=0.01, job_serializer=wire.serialize,
        job_deserializer=wire.deserialize,
    )  # fmt: skip
    receipt = await client.place(an_order({1: 2}))
    async with running(stranger):
        with pytest.raises(LockstepError, match="has failed: function 'place_order' not found"):
            await receipt.outcome(timeout=PATIENCE_SECONDS)


async def test_the_same_content_keeps_its_outcome_after_a_conflict_under_its_id(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    order, changed = an_order({1: 2}), an_order({1: 3})
    changed = changed.model_copy(update={"order_id": order.order_id})
    first = await (await client.place(order)).outcome(timeout=PATIENCE_SECONDS)
    await redis.flushdb()
    assert await (await client.place(changed)).outcome(timeout=PATIENCE_SECONDS) == Conflict(
        id=order.order_id
    )
    assert await (await client.place(order)).outcome(timeout=PATIENCE_SECONDS) == first


async def test_a_job_whose_place_in_the_queue_is_lost_is_enqueued_again(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    await redis.set(job_key_prefix + str(order.order_id), b"a body that no queue knows")
    receipt = await client.place(order)
    assert not receipt.known
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"


async def test_a_redis_that_does_not_answer_is_said_in_a_sentence() -> None:
    with pytest.raises(LockstepError, match=r"Redis does not answer at redis://127\.0\.0\.1:1/0"):
        async with OrderClient.connect("redis://:secret@127.0.0.1:1/0"):
            pass
