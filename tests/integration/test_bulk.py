"""Orders that share a job: each receipt gives the outcome of its own order."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from arq.worker import Worker

from jobs.contract import Conflict
from jobs.orders.outcomes import AnyOutcome
from jobs.orders.requests import PlaceOrder
from tests.asking import PATIENCE_SECONDS, Session, until
from tests.conftest import MakeClient
from tests.integration.conftest import MakeWorker, running, until_full
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient, Receipt
from worker.database.transactions import Database
from worker.queue import sending, wire
from worker.settings import Settings


async def place_all(client: OrderClient, orders: list[PlaceOrder], chunk: int = 100) -> list[Receipt]:
    return [receipt async for receipt in client.place_many(orders, chunk=chunk)]


async def outcomes_of(receipts: list[Receipt]) -> list[AnyOutcome]:
    return await asyncio.gather(*(receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts))


async def queued_jobs(redis: ArqRedis) -> list[tuple[str, int]]:
    """Name and number of orders of each job, the largest first."""
    jobs = [wire.deserialize(await redis.get(key)) for key in await redis.keys(job_key_prefix + "*")]
    sizes = [(job["f"], len(job["a"][0]) if job["f"] == wire.PLACE_ORDERS else 1) for job in jobs]
    return sorted(sizes, key=lambda size: -size[1])


async def results_of(redis: ArqRedis, pattern: str) -> dict[str, dict[str, object]]:
    keys = await redis.keys(result_key_prefix + pattern)
    return {key.decode(): wire.deserialize(await redis.get(key)) for key in keys}


async def test_orders_go_in_jobs_of_a_chunk_and_the_last_alone_as_itself(
    client: OrderClient, redis: ArqRedis
) -> None:
    await place_all(client, [an_order({1: 1}) for _ in range(21)], chunk=10)
    assert await queued_jobs(redis) == [("place_orders", 10), ("place_orders", 10), ("place_order", 1)]


async def test_a_chunk_closes_before_it_has_more_lines_than_a_job_may(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 501), 1000))
    orders = [an_order(dict.fromkeys(range(1, 501), 1)) for _ in range(41)]
    receipts = await place_all(client, orders)
    assert {outcome.status for outcome in await outcomes_of(receipts)} == {"placed"}
    assert sorted(key for key in await results_of(redis, "*")) == sorted(
        [result_key_prefix + receipts[0].job_id, result_key_prefix + str(orders[40].order_id)]
    )


async def test_a_chunk_of_one_is_a_job_an_order_and_many_in_one_round_trip(
    client: OrderClient, redis: ArqRedis
) -> None:
    await redis.config_resetstat()
    orders = [an_order({1: 1}) for _ in range(1500)]
    receipts = await place_all(client, orders, chunk=1)
    assert (await redis.info("commandstats"))["cmdstat_eval"]["calls"] == 2
    assert await client.queued() == 1500
    assert [receipt.message.job_id for receipt in receipts] == [str(order.order_id) for order in orders]
    assert {name for name, _ in await queued_jobs(redis)} == {"place_order"}


@pytest.mark.parametrize("chunk", [0, 501])
async def test_a_chunk_that_no_job_can_hold_is_refused(
    redis: ArqRedis, chunk: int, make_client: MakeClient
) -> None:
    client = make_client(100)
    with pytest.raises(ValueError, match=f"chunk must be from 1 to 500, not {chunk}"):
        await place_all(client, [an_order({1: 1})], chunk=chunk)


@pytest.mark.both_isolations
async def test_each_receipt_gives_the_outcome_of_its_own_order(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 1000, 2: 0})
    orders = [an_order({1 + (number % 3 == 0): 1}) for number in range(250)]
    receipts = await place_all(client, orders, chunk=100)
    assert not any(receipt.known for receipt in receipts)
    outcomes = await outcomes_of(receipts)
    assert [(outcome.order_id, outcome.status) for outcome in outcomes] == [  # type: ignore[union-attr]  # all have it
        (order.order_id, "rejected" if number % 3 == 0 else "placed") for number, order in enumerate(orders)
    ]
    bulk = await results_of(redis, "bulk:*")
    assert [result["a"] for result in bulk.values()] == [[]] * 3, "they carry no request"
    assert not await broken_invariants(database)


@pytest.mark.both_isolations
async def test_the_same_chunk_again_is_known_and_has_the_same_outcomes(
    client: OrderClient, worker: Worker, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 1000})
    orders = [an_order({1: 1}) for _ in range(30)]
    first = await outcomes_of(await place_all(client, orders, chunk=10))
    again = await place_all(client, orders, chunk=10)
    assert all(receipt.known for receipt in again)
    otherwise = await place_all(client, orders, chunk=15)
    assert not any(receipt.known for receipt in otherwise)
    assert await outcomes_of(again) == await outcomes_of(otherwise) == first
    assert await session.value("SELECT available FROM stock") == 970


@pytest.mark.both_isolations
async def test_an_order_that_is_in_a_chunk_twice_has_one_outcome_and_other_content_a_conflict(
    client: OrderClient, worker: Worker, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 10})
    order = an_order({1: 1})
    receipts = await place_all(client, [order, order, an_order({1: 2}, order_id=order.order_id)])
    assert [receipt.known for receipt in receipts] == [False, True, False]
    first, second, third = await outcomes_of(receipts)
    assert first == second
    assert third == Conflict(id=order.order_id)
    assert await session.value("SELECT available FROM stock") == 9


@pytest.mark.both_isolations
async def test_orders_of_a_bulk_job_that_redis_has_forgotten_are_asked_singly(
    client: OrderClient, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 10, 2: 0})
    orders = [an_order({1: 1}), an_order({2: 1})]
    receipts = await place_all(client, orders)
    first = await outcomes_of(receipts)
    await redis.flushdb()
    assert await outcomes_of(receipts) == first
    single = await results_of(redis, "*")
    assert set(single) == {result_key_prefix + str(order.order_id) for order in orders}
    assert not await broken_invariants(database)


@pytest.mark.both_isolations
@pytest.mark.parametrize(
    "end", [{"s": False, "r": "job expired"}, {"s": True, "r": {"status": "invalid", "error": "too long"}}]
)
async def test_where_a_whole_bulk_job_has_failed_each_order_is_asked_singly(
    client: OrderClient, database: Database, redis: ArqRedis, make_worker: MakeWorker, end: dict[str, Any]
) -> None:
    await open_shop(database, {1: 10})
    receipts = await place_all(client, [an_order({1: 1}), an_order({1: 1})])
    (job_id,) = await redis.zrange("arq:queue", 0, -1)
    job = wire.deserialize(await redis.get(job_key_prefix + job_id.decode()))
    await redis.set(
        result_key_prefix + job_id.decode(), wire.serialize(job | {"t": 1, "st": 1, "ft": 1} | end)
    )
    await redis.zrem("arq:queue", job_id)
    async with running(make_worker(database, burst=False)):
        assert [outcome.status for outcome in await outcomes_of(receipts)] == ["placed", "placed"]
    assert not await broken_invariants(database)


async def test_a_queued_job_counts_as_a_chunk_of_orders(settings: Settings, redis: ArqRedis) -> None:
    async with OrderClient.connect(settings.redis_url, max_queued=20) as client:
        sent: list[Receipt] = []

        async def send() -> None:
            async for receipt in client.place_many([an_order({1: 1}) for _ in range(50)], chunk=10):
                sent.append(receipt)  # noqa: PERF401  # counted while it grows

        async def full() -> bool:
            return await client.queued() == 2

        task = asyncio.create_task(send())
        for expected in (20, 40):
            await until(full, "two jobs to be sent")
            await until_full(redis)
            assert not task.done()
            assert len(sent) == expected
            await redis.flushdb()
        await task
        assert len(sent) == 50


async def test_a_chunk_that_is_larger_than_the_queue_may_be_goes_by_itself(
    settings: Settings, redis: ArqRedis, make_client: MakeClient
) -> None:
    client = make_client(5)
    assert len(await place_all(client, [an_order({1: 1}) for _ in range(10)], chunk=10)) == 10
    assert await client.queued() == 1


@pytest.mark.both_isolations
async def test_calls_at_the_same_time_share_a_job(
    client: OrderClient, database: Database, redis: ArqRedis, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 100})
    orders = [an_order({1: 1}) for _ in range(50)]
    other = an_order({1: 2}, order_id=orders[0].order_id)
    receipts = await asyncio.gather(*(client.place(order) for order in [*orders, orders[1], other]))
    assert await queued_jobs(redis) == [("place_orders", 51)]
    async with running(make_worker(database, burst=False)):
        outcomes = await outcomes_of(receipts)
    assert {outcome.status for outcome in outcomes[:50]} == {"placed"}
    assert outcomes[50:] == [outcomes[1], Conflict(id=other.order_id)]
    assert not await broken_invariants(database)


async def test_requests_of_all_kinds_share_a_round_trip_but_no_job(
    client: OrderClient, redis: ArqRedis
) -> None:
    await redis.config_resetstat()
    await asyncio.gather(
        client.cancel(uuid4()), client.ship(uuid4()), client.place(an_order({1: 1})), client.place(an_order({1: 1}))
    )  # fmt: skip
    assert (await redis.info("commandstats"))["cmdstat_eval"]["calls"] == 1
    assert sorted(await queued_jobs(redis)) == [("cancel_order", 1), ("place_orders", 2), ("ship_order", 1)]


async def test_with_linger_seconds_orders_of_a_while_share_a_job(
    settings: Settings, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The while lasts until the second order has come."""
    lingering, over = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == 2.0
        lingering.set()
        await over.wait()

    async with OrderClient.connect(settings.redis_url, linger_seconds=2.0) as client:
        monkeypatch.setattr(sending, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
        first = asyncio.create_task(client.place(an_order({1: 1})))
        await lingering.wait()
        assert await redis.zcard("arq:queue") == 0
        second = asyncio.create_task(client.place(an_order({1: 1})))
        await asyncio.sleep(0)  # into the queue of those who wait
        over.set()
        await asyncio.gather(first, second)
        assert await queued_jobs(redis) == [("place_orders", 2)]
