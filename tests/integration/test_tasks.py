"""What the arq functions make of a message: an outcome, or another try, and never a lost job."""

import time
from typing import Any
from uuid import uuid4

import msgpack
import pytest
import structlog
from arq.connections import ArqRedis, create_pool
from arq.constants import job_key_prefix
from arq.jobs import Job

from jobs.orders.requests import Restock
from tests.asking import PATIENCE_SECONDS, PATIENT, Session, until_waiting
from tests.integration.conftest import MakeWorker, running
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.connection import redis_settings
from worker.settings import Settings


def request(**changes: object) -> dict[str, object]:
    return {
        "order_id": str(uuid4()),
        "customer_id": 1,
        "lines": [{"product_id": 1, "quantity": 1}],
        **changes,
    }


async def outcome_of(redis: ArqRedis, job_id: str) -> Any:
    info = await Job(job_id, redis, _deserializer=wire.deserialize).result_info()
    assert info is not None, "the job has no outcome"
    assert info.success
    return info.result


async def test_a_bare_arq_producer_needs_nothing_of_ours(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, settings: Settings
) -> None:
    await open_shop(database, {1: 5})
    bare = await create_pool(
        redis_settings(settings.redis_url),
        job_serializer=msgpack.packb,
        job_deserializer=msgpack.unpackb,
    )
    order = request()
    job = await bare.enqueue_job("place_order", order, _job_id=order["order_id"])  # type: ignore[arg-type]
    assert job
    await make_worker(database).main()
    assert await job.result(timeout=PATIENCE_SECONDS) == {
        "status": "placed",
        "order_id": order["order_id"],
        "total_cents": 100,
    }
    await bare.aclose()


async def test_every_job_by_its_name(redis: ArqRedis, database: Database, make_worker: MakeWorker) -> None:
    await open_shop(database, {1: 5})
    order, other = request(), request()
    order_id = {"order_id": order["order_id"]}
    restock = {"restock_id": str(uuid4()), "product_id": 1, "quantity": 3}
    steps: list[tuple[str, Any, Any]] = [
        ("place_order", order, "placed"),
        ("ship_order", order_id, "shipped"),
        ("cancel_order", order_id, "already_shipped"),
        ("cancel_order", {"order_id": str(uuid4())}, "not_found"),
        ("ship_order", {"order_id": str(uuid4())}, "not_found"),
        ("place_order", other, "placed"),
        ("cancel_order", {"order_id": other["order_id"]}, "cancelled"),
        ("restock", restock, "restocked"),
    ]
    for name, payload, status in steps:
        job = await redis.enqueue_job(name, payload)
        assert job
        await make_worker(database).main()
        assert (await outcome_of(redis, job.job_id))["status"] == status
    assert not await broken_invariants(database)


async def test_many_orders_in_one_job_have_an_outcome_each(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    orders = [request(), request(lines=[]), request(customer_id=99)]
    await redis.enqueue_job("place_orders", orders, _job_id="batch")
    await make_worker(database).main()
    outcomes = await outcome_of(redis, "batch")
    assert [outcome["status"] for outcome in outcomes] == ["placed", "invalid", "rejected"]
    assert "lines" in outcomes[1]["error"]
    assert not await broken_invariants(database)


async def test_a_job_of_one_order_has_a_list_of_one_outcome(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    await redis.enqueue_job("place_orders", [request()], _job_id="batch")
    await make_worker(database).main()
    assert [outcome["status"] for outcome in await outcome_of(redis, "batch")] == ["placed"]


@pytest.mark.parametrize("payload", [[], {}, "x", [{}] * 501], ids=["empty", "map", "text", "501"])
async def test_a_batch_that_is_none_is_refused(
    payload: object, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await redis.enqueue_job("place_orders", payload, _job_id="batch")
    await make_worker(database).main()
    assert (await outcome_of(redis, "batch"))["error"] == "place_orders takes a list of 1 to 500 orders"


@pytest.mark.parametrize(
    ("name", "payload", "field"),
    [
        ("place_order", request(lines=[{"product_id": 1, "quantity": 0}]), "lines.0.quantity"),
        ("place_order", request(colour="red"), "colour"),
        ("place_order", "not a map", "request"),
        ("cancel_order", {"order_id": "not a uuid"}, "order_id"),
        ("ship_order", {}, "order_id"),
        ("restock", {"restock_id": str(uuid4()), "product_id": 1, "quantity": -1}, "quantity"),
    ],
)
async def test_a_request_that_cannot_be_understood_is_answered_and_writes_nothing(
    name: str,
    payload: object,
    field: str,
    redis: ArqRedis,
    database: Database,
    make_worker: MakeWorker,
    session: Session,
) -> None:
    await open_shop(database, {1: 5})
    await redis.enqueue_job(name, payload, _job_id="bad")
    await make_worker(database).main()
    outcome = await outcome_of(redis, "bad")
    assert outcome["status"] == "invalid"
    assert field in outcome["error"]
    assert await session.value("SELECT COUNT(*) FROM orders") == 0
    assert await redis.zcard("arq:queue") == 0


@pytest.mark.parametrize(
    "message", [b"\xc1", b"not msgpack", msgpack.packb([1, 2])], ids=["reserved", "text", "list"]
)
async def test_a_message_that_cannot_be_read_is_answered(
    message: bytes, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await redis.set(job_key_prefix + "garbage", message)
    await redis.zadd("arq:queue", {"garbage": 1})
    await make_worker(database).main()
    assert "the message cannot be read" in (await outcome_of(redis, "garbage"))["error"]


async def test_a_message_over_256_kib_is_answered(
    redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    await redis.enqueue_job("place_order", request(note="x" * 300_000), _job_id="huge")
    await make_worker(database).main()
    assert "262144 are allowed" in (await outcome_of(redis, "huge"))["error"]


async def run_once(make_worker: MakeWorker, database: Database, **options: Any) -> list[dict[str, Any]]:
    """One try of one job, and what was logged."""
    worker = make_worker(database, max_burst_jobs=1, **options)
    with structlog.testing.capture_logs() as logs:
        await worker.main()
    assert worker.jobs_retried == 1
    assert worker.jobs_failed == 0
    return [dict(line) for line in logs]


async def test_an_outage_costs_no_order(
    redis: ArqRedis, settings: Settings, database: Database, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    order = request()
    await redis.enqueue_job("place_order", order, _job_id=str(order["order_id"]))
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as outage:
        began = time.time()
        logs = await run_once(make_worker, outage)
    assert logs[-1]["event"] == "deferred"
    score = await redis.zscore("arq:queue", str(order["order_id"]))
    assert score
    assert began < score / 1000 <= time.time() + 3
    await redis.zadd("arq:queue", {str(order["order_id"]): 1})  # now, not later
    await make_worker(database).main()
    assert (await outcome_of(redis, str(order["order_id"])))["status"] == "placed"


async def test_a_bug_is_logged_with_its_trace_and_ends_the_job(
    redis: ArqRedis, database: Database, make_worker: MakeWorker, session: Session
) -> None:
    """What is kept of it is in test_dead_letters.py."""
    await open_shop(database, {1: 5})
    order = request()
    await redis.enqueue_job("place_order", order, _job_id=str(order["order_id"]))
    await session.run("RENAME TABLE outbox TO mislaid")
    try:
        with structlog.testing.capture_logs() as logs:
            await make_worker(database).main()
    finally:
        await session.run("RENAME TABLE mislaid TO outbox")
    (bug,) = [line for line in logs if line["event"] == "bug"]
    assert bug["log_level"] == "error"
    assert bug["job_id"] == order["order_id"]
    assert "insert_events: 1146" in str(bug["exc_info"])
    assert (await outcome_of(redis, str(order["order_id"])))["status"] == "dead"
    assert not await broken_invariants(database)


async def test_jobs_that_wait_for_a_row_leave_connections_to_the_orders(
    settings: Settings, session: Session, other_session: Session, make_worker: MakeWorker
) -> None:
    async with (
        Database(settings.model_copy(update=PATIENT)) as database,
        OrderClient.connect(settings.redis_url) as client,
    ):
        await open_shop(database, {1: 5, 2: 5})
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
        new_stock = [
            Restock(restock_id=uuid4(), product_id=2, quantity=1)
            for _ in range(2 * settings.mysql_connections)
        ]
        restocks = [await client.restock(request) for request in new_stock]
        async with running(make_worker(database, burst=False, job_seconds=PATIENT["job_seconds"])):
            await until_waiting(other_session, settings.mysql_connections // 2)
            order = await client.place(an_order({1: 1}))
            assert (await order.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
            await session.run("COMMIT")
            for restock in restocks:
                assert (await restock.outcome(timeout=PATIENCE_SECONDS)).status == "restocked"
        assert not await broken_invariants(database)
