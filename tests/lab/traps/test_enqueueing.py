"""Traps between a transaction and a queue, on the side of those who enqueue."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from arq.connections import ArqRedis
from arq.constants import result_key_prefix
from arq.worker import Function, func

from jobs.contract import Conflict
from jobs.orders.place_orders import place_orders
from jobs.outbox import RecordedEvent
from jobs.transaction import Transaction
from tests.asking import PATIENCE_SECONDS, Session
from tests.conftest import MakeClient
from tests.lab.traps.arq_workers import bare_queue, bare_worker, our_worker, result_of, run_dry, working
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue.event_stream import EventStream
from worker.queue.idempotency import place_once
from worker.queue.relay import Relay
from worker.settings import Settings


async def insert_order(session: Session, order_id: UUID) -> None:
    await session.run(
        f"INSERT INTO orders SELECT UNHEX('{order_id.hex}'), 1, 'placed', NULL, NULL, 100,"
        " UNHEX(REPEAT('00', 16)), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)"
    )


async def count_orders_and_events(session: Session) -> tuple[int, int]:
    (row,) = await session.run(
        "SELECT (SELECT COUNT(*) FROM orders) AS orders, (SELECT COUNT(*) FROM outbox) AS events"
    )
    return row["orders"], row["events"]


def invoicing(session: Session, *, without_asking: bool = False) -> Function:
    """A job that writes an invoice for an order which it looks up, or takes for granted."""

    async def write_invoice(ctx: Any, order_id: str) -> str:
        known = await session.value(f"SELECT COUNT(*) FROM orders WHERE order_id = UNHEX('{order_id}')")
        return "invoice" if without_asking or known else "no such order"

    return func(write_invoice, name="write_invoice")


async def test_enqueue_before_commit_wrong_the_job_runs_before_its_order_is_there(
    settings: Settings, session: Session, other_session: Session
) -> None:
    """R01. The queue is faster than the commit, so the job finds nothing, and nobody asks it again."""
    order_id = an_order({1: 1}).order_id
    await session.run("BEGIN")
    await insert_order(session, order_id)
    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("write_invoice", order_id.hex, _job_id="invoice")
        await run_dry(bare_worker(queue, [invoicing(other_session)]))
        await session.run("COMMIT")
        assert (await result_of(queue, "invoice")).result == "no such order"
        assert await queue.zcard("arq:queue") == 0
    assert (await count_orders_and_events(other_session))[0] == 1, "and yet the order is there"


async def test_enqueue_before_commit_right_the_event_appears_with_its_order(
    database: Database, session: Session
) -> None:
    """R01. The event is a row of the order's own transaction."""
    await open_shop(database, {1: 5})
    order, written, commit = an_order({1: 1}), asyncio.Event(), asyncio.Event()

    async def place_slowly(transaction: Transaction) -> None:
        await place_orders(transaction, [order])
        written.set()
        await commit.wait()

    task = asyncio.create_task(database.transact(place_slowly, job="test"))
    await written.wait()
    before = await count_orders_and_events(session)
    commit.set()
    await task
    assert [before, await count_orders_and_events(session)] == [(0, 0), (1, 1)]


async def test_enqueue_then_rollback_wrong_a_ghost_gets_an_invoice(
    settings: Settings, session: Session, other_session: Session
) -> None:
    """R02. A rollback does not reach the queue."""
    order_id = an_order({1: 1}).order_id
    await session.run("BEGIN")
    await insert_order(session, order_id)
    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("write_invoice", order_id.hex, _job_id="invoice")
        await session.run("ROLLBACK")
        await run_dry(bare_worker(queue, [invoicing(other_session, without_asking=True)]))
        assert (await result_of(queue, "invoice")).result == "invoice"
    assert await count_orders_and_events(other_session) == (0, 0)


async def test_enqueue_then_rollback_right_the_event_goes_with_its_order(
    database: Database, session: Session
) -> None:
    """R02. What rolls back the order rolls back its event."""
    await open_shop(database, {1: 5})

    async def place_and_fail(transaction: Transaction) -> None:
        await place_orders(transaction, [an_order({1: 1})])
        raise KeyError("a bug after the event")

    with pytest.raises(KeyError):
        await database.transact(place_and_fail, job="test")
    assert await count_orders_and_events(session) == (0, 0)


async def test_commit_then_crash_before_enqueue_wrong_nobody_is_ever_told(
    settings: Settings, session: Session, other_session: Session
) -> None:
    """R03. After the commit the process dies, and with it the only one who knew that a job was to follow."""
    order_id = an_order({1: 1}).order_id

    async def place_and_tell(queue: ArqRedis) -> None:
        await session.run("BEGIN")
        await insert_order(session, order_id)
        await session.run("COMMIT")
        raise ProcessLookupError("killed here")
        await queue.enqueue_job("write_invoice", order_id.hex, _job_id="invoice")

    async with bare_queue(settings.redis_url) as queue:
        with pytest.raises(ProcessLookupError):
            await place_and_tell(queue)
        assert await queue.zcard("arq:queue") == 0
    assert (await count_orders_and_events(other_session))[0] == 1, "and yet the order is there"


@pytest.mark.parametrize("after_publishing", [False, True])
async def test_commit_then_crash_before_enqueue_right_the_next_relay_tells(
    *, after_publishing: bool, database: Database, settings: Settings, redis: ArqRedis, session: Session
) -> None:
    """R03. The event waits where its order is; and where the relay has died after it had told, it is not told again."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    await place_once(database, [order], job="test")
    stream = EventStream(settings.redis_url, settings.events_stream, settings.events_kept)

    class Dies:
        async def publish(self, events: Sequence[RecordedEvent]) -> int:
            if after_publishing:
                await stream.publish(events)
            raise ProcessLookupError("killed here")

    with pytest.raises(ProcessLookupError):
        await Relay(database, Dies()).relay_batch()
    assert await count_orders_and_events(session) == (1, 1)
    await Relay(database, stream).relay_batch()
    await stream.close()
    told = [entry[b"order_id"].decode() for _, entry in await redis.xrange(settings.events_stream)]
    assert told == [str(order.order_id)]
    assert await count_orders_and_events(session) == (1, 0)
    assert not await broken_invariants(database)


async def test_job_id_reuse_wrong_the_queue_forgets_and_charges_again(settings: Settings) -> None:
    """R11. arq knows an id for as long as it keeps the result, one hour by default."""
    charged: list[str] = []

    async def charge(ctx: Any, order: str) -> None:
        charged.append(order)

    async with bare_queue(settings.redis_url) as queue:
        accepted = []
        for expire in (False, True, False):
            accepted.append(bool(await queue.enqueue_job("charge", "mine", _job_id="order 1")))
            await run_dry(bare_worker(queue, [func(charge, name="charge")]))
            if expire:
                await queue.expire(result_key_prefix + "order 1", 0)
    assert accepted == [True, False, True]
    assert charged == ["mine", "mine"]


async def test_job_id_reuse_right_the_first_outcome_comes_again(
    redis: ArqRedis, database: Database, settings: Settings, session: Session, make_client: MakeClient
) -> None:
    """R11. The queue forgets, the primary key does not."""
    await open_shop(database, {1: 5})
    client, order = make_client(100), an_order({1: 2})
    outcomes, known = [], []
    for expire in (False, True, False):
        receipt = await client.place(order)
        await run_dry(our_worker(redis, database, settings))
        outcomes.append(await receipt.outcome(timeout=PATIENCE_SECONDS))
        known.append(receipt.known)
        if expire:
            await redis.expire(result_key_prefix + str(order.order_id), 0)
    assert known == [False, True, False]
    assert outcomes == [outcomes[0]] * 3
    assert await session.value("SELECT available FROM stock") == 3
    assert not await broken_invariants(database)


async def test_same_key_with_other_content_wrong_it_is_swallowed(settings: Settings) -> None:
    """R12. The second order is told "accepted before", and gets the result of the first."""

    async def buy(ctx: Any, product: str) -> str:
        return f"bought {product}"

    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("buy", "apples", _job_id="order 1")
        assert await queue.enqueue_job("buy", "pears", _job_id="order 1") is None
        await run_dry(bare_worker(queue, [func(buy, name="buy")]))
        assert (await result_of(queue, "order 1")).result == "bought apples"


async def test_same_key_with_other_content_right_it_is_a_conflict(
    redis: ArqRedis, database: Database, settings: Settings, session: Session, make_client: MakeClient
) -> None:
    """R12. Also where the queue has forgotten the first order."""
    await open_shop(database, {1: 5, 2: 5})
    client, order = make_client(100), an_order({1: 1})
    other = an_order({2: 1}, order_id=order.order_id)
    async with working(our_worker(redis, database, settings)):
        receipts = [await client.place(order), await client.place(other)]
        outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
        await redis.flushdb()
        outcomes.append(await (await client.place(other)).outcome(timeout=PATIENCE_SECONDS))
    conflict = Conflict(id=order.order_id)
    assert [outcomes[0].status, *outcomes[1:]] == ["placed", conflict, conflict]
    assert await session.run("SELECT product_id FROM order_lines") == [{"product_id": 1}]
