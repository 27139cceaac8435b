"""How staged orders are taken over: beside each other, beside outages, and beside many that are in the queue."""

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest
import structlog
from arq.connections import ArqRedis
from arq.utils import timestamp_ms
from pymysql import err
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.dead_letters import dead_letters_of
from jobs.orders.place_orders import place_orders
from jobs.orders.requests import PlaceOrder
from jobs.sweep_intake import Swept, Work, find_work, sweep_intake
from jobs.transaction import Transaction, load_statements
from tests.asking import Session, until
from tests.integration.conftest import MakeIntake
from tests.integration.staging import (
    ENQUEUED,
    OVERDUE,
    insert,
    queued,
    result_of,
    stage_all,
    staged_count,
    sweep,
    take_over,
    until_none_is_staged,
    until_queued,
)
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.retry import MOST_ATTEMPTS, DatabaseError, Kind
from worker.database.transactions import Database, Isolation
from worker.queue import intake as module
from worker.queue import wire
from worker.queue.idempotency import place_once
from worker.settings import Settings


async def test_two_sweeps_share_what_is_staged(database: Database, session: Session) -> None:
    orders = [an_order({1: 1}, order_id=UUID(int=number)) for number in range(4)]
    await stage_all(session, orders)
    await session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    await session.run("BEGIN")
    await session.run(load_statements("locks.sql")["lock_staged"].text, {"size": 2})
    assert (await sweep(database)).orders == orders[2:]
    await session.run("COMMIT")
    assert (await sweep(database)).orders == orders[:2]


@pytest.mark.both_isolations
async def test_others_stage_while_a_sweep_or_an_order_holds_its_rows(
    database: Database, session: Session
) -> None:
    """Neighbours on both sides, and the end of the table: no gap is locked."""
    await open_shop(database, {1: 50})
    ids = [UUID(int=number) for number in range(100, 600, 100)]
    await stage_all(session, [an_order({1: 1}, order_id=order_id) for order_id in ids])
    await session.run("SET innodb_lock_wait_timeout = 1")

    async def stage_beside(transaction: Transaction, number: int) -> None:
        beside = [UUID(int=order_id.int + number) for order_id in ids] + [UUID(int=2**127 + number)]
        await stage_all(session, [an_order({1: 1}, order_id=order_id) for order_id in beside])

    async def swept(transaction: Transaction) -> None:
        await take_over(transaction)
        await stage_beside(transaction, 1)

    async def placed(transaction: Transaction) -> None:
        orders = [an_order({1: 1}, order_id=order_id) for order_id in ids]
        await place_orders(transaction, orders, staged=set(ids))
        await stage_beside(transaction, 2)

    await database.transact(swept, job="test", isolation=Isolation.READ_COMMITTED)
    await database.transact(placed, job="test")
    assert await staged_count(session) == 12


@pytest.mark.both_isolations
async def test_a_service_that_idles_with_a_lock_on_its_staged_order_holds_up_no_order(
    database: Database, settings: Settings, session: Session, other_session: Session, make_intake: MakeIntake
) -> None:
    """It has staged it once more: error 1062 leaves a lock on the row until the end of its transaction."""
    await open_shop(database, {1: 5})
    held, other = an_order({1: 1}), an_order({1: 1})
    await stage_all(session, [held, other])
    await session.run(ENQUEUED)
    await session.run("BEGIN")
    with pytest.raises(err.IntegrityError, match="1062"):
        await session.run(insert(held))
    async with Database(settings.model_copy(update={"lock_wait_seconds": 1})) as hasty:
        outcomes = await place_once(hasty, [held, other], job="test", attempts_seconds=0)
    assert [outcome.status for outcome in outcomes] == ["placed", "placed"]
    left = await other_session.value("SELECT LOWER(HEX(order_id)) FROM intake")
    assert left == held.order_id.hex, "it ends when it is found with its outcome"
    await session.run("ROLLBACK")
    await session.run(OVERDUE)
    make_intake()
    await until_none_is_staged(session)
    assert not await broken_invariants(database)


async def test_an_order_that_no_sweep_can_take_over_is_buried_alone(
    database: Database, session: Session, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    """It has an outcome, for a reason that a later version knows."""
    orders = [an_order({1: 1}) for _ in range(20)]
    bad = [orders[0], orders[13]]
    for order in bad:
        await session.run(
            "INSERT INTO orders (order_id, customer_id, status, reason, total_cents, fingerprint, placed_at)"
            f" VALUES (UNHEX('{order.order_id.hex}'), 1, 'rejected', 'tomorrow', 0, UNHEX('{order.fingerprint}'), NOW(6))"
        )
    await stage_all(session, orders)
    with structlog.testing.capture_logs() as logs:
        make_intake()
        for order in bad:
            assert (await result_of(redis, order.order_id))["status"] == "dead"
        await until_queued(redis, 18)
    assert await queued(redis) == {str(order.order_id) for order in orders if order not in bad}
    for order in bad:
        (letter,) = await dead_letters_of(database, str(order.order_id))
        assert letter.order == order
        assert "reason" in letter.error
    assert await staged_count(session) == 18
    assert {log["job_id"] for log in logs if log["event"] == "bug"} == {str(order.order_id) for order in bad}


async def test_an_outage_amid_a_sweep_buries_nobody(
    database: Database,
    session: Session,
    make_intake: MakeIntake,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.01)
    failures = MOST_ATTEMPTS[Kind.OUTAGE]

    async def failing(transaction: Transaction, **options: Any) -> Swept:
        nonlocal failures
        swept = await sweep_intake(transaction, **options)
        if failures:
            failures -= 1
            raise DatabaseError("commit", err.OperationalError(2013, "Lost connection"))
        return swept

    monkeypatch.setattr(module, "sweep_intake", failing)
    await stage_all(session, [an_order({1: 1}) for _ in range(2)])
    with structlog.testing.capture_logs() as logs:
        make_intake()
        await until_queued(redis, 2)
    assert [log["event"] for log in logs if log["log_level"] != "info"] == ["staged orders wait"]
    assert await session.value("SELECT COUNT(*) FROM dead_letters") == 0


async def test_orders_whose_worker_died_before_it_enqueued_them_are_enqueued_by_another(
    database: Database, session: Session, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    orders = [an_order({1: 1}) for _ in range(3)]
    await stage_all(session, orders)
    assert len((await sweep(database)).orders) == 3
    assert await sweep(database) == Swept([], {})
    await session.run(OVERDUE)
    with structlog.testing.capture_logs() as logs:
        make_intake()
        await until_queued(redis, 3)
    assert await queued(redis) == {str(order.order_id) for order in orders}
    assert [log["orders"] for log in logs if log["event"].startswith("Redis had lost")] == [3]


async def test_orders_that_wait_in_a_long_queue_are_not_enqueued_twice(
    database: Database, session: Session, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    orders = [an_order({1: 1}) for _ in range(3)]
    await stage_all(session, orders)
    make_intake()
    await until_queued(redis, 3)
    await session.run(OVERDUE)
    with structlog.testing.capture_logs() as logs:

        async def looked() -> bool:
            return not await session.value(
                "SELECT COUNT(*) FROM intake WHERE enqueued_at < UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE"
            )

        await until(looked, "a look at the overdue")
    assert len(await queued(redis)) == 3
    assert not [log for log in logs if log["event"].startswith("Redis had lost")]


async def looked(redis: ArqRedis, times: int) -> None:
    """Whether there is room in the queue is asked before each sweep that has something to do."""

    async def has_looked() -> bool:
        return bool((await redis.info("commandstats")).get("cmdstat_zcard", {"calls": 0})["calls"] >= times)

    await until(has_looked, f"{times} looks at the queue")


async def put_into_the_past(
    session: Session, redis: ArqRedis, *, staged_minutes: int, queued_minutes: int
) -> None:
    await session.run(f"UPDATE intake SET enqueued_at = UTC_TIMESTAMP(6) - INTERVAL {staged_minutes} MINUTE")
    for job_id in await queued(redis):
        await redis.zadd("arq:queue", {job_id: timestamp_ms() - 60_000 * queued_minutes})
    await redis.config_resetstat()


async def test_orders_in_a_bulk_job_that_waits_are_not_enqueued_once_more_and_those_of_one_that_is_lost_are(
    session: Session,
    client: OrderClient,
    make_intake: MakeIntake,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis does not know them by their ids."""
    monkeypatch.setattr(module, "REST_SECONDS", 0.01)
    orders = [an_order({1: 1}) for _ in range(3)]
    await stage_all(session, orders, at_once=True)
    (job_id,) = {receipt.job_id async for receipt in client.place_many(orders)}
    await put_into_the_past(session, redis, staged_minutes=30, queued_minutes=30)
    make_intake()
    await looked(redis, 3)
    assert await queued(redis) == {job_id}
    await redis.delete("arq:queue")
    await until_queued(redis, 3)
    assert await queued(redis) == {str(order.order_id) for order in orders}


async def test_a_job_that_stays_in_the_queue_hides_no_order_that_is_lost(
    session: Session, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    await stage_all(session, [an_order({1: 1})], at_once=True)
    await redis.zadd("arq:queue", {"stuck": 1})
    await put_into_the_past(session, redis, staged_minutes=90, queued_minutes=600)
    make_intake()
    await until_queued(redis, 2)


async def test_while_the_queue_is_full_staged_orders_stay_in_the_database(
    database: Database,
    session: Session,
    make_intake: MakeIntake,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 1)
    monkeypatch.setattr(module, "REST_SECONDS", 0.05)
    await redis.zadd("arq:queue", {"another": time.time() * 1000 + 60_000})
    await stage_all(session, [an_order({1: 1})])
    await redis.config_resetstat()
    make_intake()
    await looked(redis, 2)
    assert await session.value("SELECT COUNT(*) FROM intake WHERE enqueued_at IS NULL") == 1
    await redis.zrem("arq:queue", "another")
    await until_queued(redis, 1)


async def test_an_outage_of_redis_delays_what_was_taken_over_and_is_told_once(
    database: Database,
    session: Session,
    make_intake: MakeIntake,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes away after the commit, the worst moment."""
    monkeypatch.setattr(module, "REST_SECONDS", 0.01)
    enqueue, failures = wire.enqueue_afresh, 3

    async def failing(pool: ArqRedis, messages: list[wire.Message]) -> list[bool]:
        nonlocal failures
        if failures:
            failures -= 1
            raise RedisConnectionError("gone")
        return await enqueue(pool, messages)

    monkeypatch.setattr(wire, "enqueue_afresh", failing)
    await stage_all(session, [an_order({1: 1})])
    with structlog.testing.capture_logs() as logs:
        make_intake()
        await until_queued(redis, 1)
    assert [log["error"] for log in logs if log["event"] == "staged orders wait"] == ["ConnectionError: gone"]


async def test_a_bug_of_the_sweep_is_logged_and_does_not_end_it(
    session: Session, make_intake: MakeIntake, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.01)
    failures = 1

    async def failing(database: Database, seconds: int) -> Work:
        nonlocal failures
        if failures:
            failures -= 1
            raise ZeroDivisionError
        return await find_work(database, seconds)

    monkeypatch.setattr(module, "find_work", failing)
    await stage_all(session, [an_order({1: 1})])
    with structlog.testing.capture_logs() as logs:
        make_intake()
        await until_queued(redis, 1)
    assert [log["job"] for log in logs if log["event"] == "bug"] == ["sweep_intake"]


async def test_a_sweep_that_has_begun_ends_before_its_worker(
    session: Session, make_intake: MakeIntake, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue, begun, go_on = wire.enqueue_afresh, asyncio.Event(), asyncio.Event()

    async def held(pool: ArqRedis, messages: list[wire.Message]) -> list[bool]:
        begun.set()
        await go_on.wait()
        return await enqueue(pool, messages)

    monkeypatch.setattr(wire, "enqueue_afresh", held)
    await stage_all(session, [an_order({1: 1})])
    intake = make_intake()
    await begun.wait()
    stopping = asyncio.create_task(intake.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert len(await queued(redis)) == 1


async def test_staged_orders_are_found_beside_100_000_that_are_enqueued(
    database: Database, session: Session
) -> None:
    """The server counts the rows that it reads."""
    await open_shop(database, dict.fromkeys(range(1, 318), 5))
    await session.run(
        "INSERT INTO intake (order_id, request, enqueued_at)"
        " SELECT UNHEX(LPAD(HEX(one.product_id * 1000 + other.product_id), 32, '0')), '{}', UTC_TIMESTAMP(6)"
        " FROM stock AS one, stock AS other"
    )
    await session.run("ANALYZE TABLE intake")
    orders: list[PlaceOrder] = [an_order({1: 1}) for _ in range(3)]
    await stage_all(session, orders)
    locks = load_statements("locks.sql")
    for text, parameters, most in (
        (locks["lock_staged"].text, {"size": 300}, 8),
        (locks["lock_overdue"].text, {"size": 300, "overdue_seconds": 3600}, 8),
        (load_statements("intake.sql")["work_for_a_sweep"].text, {"overdue_seconds": 3600}, 8),
    ):
        (plan, *_) = await session.run(f"EXPLAIN FORMAT=TRADITIONAL {text}", parameters)
        await session.run("FLUSH STATUS")
        await session.run(text, parameters)
        reads = await session.run("SHOW SESSION STATUS LIKE 'Handler_read%'")
        assert sum(int(row["Value"]) for row in reads) <= most, (text, plan)
        assert "filesort" not in (plan["Extra"] or "")
