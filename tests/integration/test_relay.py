"""Relays on real servers: each event once, those of an order in their order, and no order waits for it."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ResponseError

from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.place_orders import place_orders
from jobs.orders.requests import PlaceOrder
from jobs.outbox import Event, RecordedEvent, next_events, record_events
from jobs.transaction import Transaction
from tests.asking import Session, until
from tests.integration.conftest import Streams, entries
from tests.integration.patience import NEVER
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue import relay as module
from worker.queue.crew import Crew
from worker.queue.event_stream import EventStream
from worker.queue.idempotency import place_once
from worker.queue.relay import GATHER_SECONDS, IDLE_SECONDS, Relay


async def place(database: Database, *orders: PlaceOrder) -> list[str]:
    return [outcome.status for outcome in await place_once(database, orders, job="test")]


async def cancel(database: Database, order: PlaceOrder) -> None:
    taken = await read_taken(database, order.order_id)
    assert isinstance(taken, Taken)
    await database.transact(partial(cancel_order, taken=taken), job="test")


class HeldStream:
    """Publishes when it is told to; its relay has its batch in hand meanwhile."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self.held, self.go_on = asyncio.Event(), asyncio.Event()

    async def publish(self, events: Sequence[RecordedEvent]) -> int:
        self.held.set()
        await self.go_on.wait()
        return await self._stream.publish(events)


@asynccontextmanager
async def a_relay_that_holds_its_batch(database: Database, stream: EventStream) -> AsyncIterator[None]:
    held = HeldStream(stream)
    task = asyncio.create_task(Relay(database, held).relay_batch())
    await held.held.wait()
    try:
        yield
    finally:
        held.go_on.set()
        await task


async def test_every_outcome_is_published_once_with_all_that_it_says(
    database: Database, redis: ArqRedis, session: Session, stream: EventStream
) -> None:
    await open_shop(database, {1: 5})
    orders = [an_order({1: 2}), an_order({1: 9})]
    assert await place(database, *orders) == ["placed", "rejected"]
    rows = await session.run("SELECT event_id, recorded_at FROM outbox ORDER BY event_id")

    assert await Relay(database, stream).relay_batch() == GATHER_SECONDS

    placed, rejected = await entries(redis)
    line = {"product_id": 1, "quantity": 2, "unit_price_cents": 100}
    assert json.loads(placed.pop("body")) == {
        "status": "placed", "order_id": str(orders[0].order_id), "total_cents": 200, "customer_id": 1, "lines": [line]
    }  # fmt: skip
    assert placed == {
        "event_id": str(rows[0]["event_id"]),
        "kind": "order.placed",
        "order_id": str(orders[0].order_id),
        "recorded_at": f"{rows[0]['recorded_at'].isoformat(timespec='microseconds')}Z",
    }
    assert (rejected["kind"], rejected["order_id"]) == ("order.rejected", str(orders[1].order_id))
    assert await session.value("SELECT COUNT(*) FROM outbox") == 0
    assert not await broken_invariants(database)


async def test_a_crash_between_publishing_and_the_commit_publishes_nothing_twice(
    database: Database, redis: ArqRedis, session: Session, stream: EventStream
) -> None:
    await open_shop(database, {1: 5})
    await place(database, an_order({1: 1}), an_order({1: 1}))

    class DiesThen:
        async def publish(self, events: Sequence[RecordedEvent]) -> int:
            assert await stream.publish(events) == 2
            raise ConnectionResetError("the answer is lost")

    with pytest.raises(ConnectionResetError):
        await Relay(database, DiesThen()).relay_batch()
    assert await session.value("SELECT COUNT(*) FROM outbox") == 2
    await place(database, an_order({1: 1}))
    await Relay(database, stream).relay_batch()
    ids = [int(entry["event_id"]) for entry in await entries(redis)]
    assert len(ids) == 3
    assert ids == sorted(ids)
    assert not await broken_invariants(database)


async def test_a_relay_that_was_frozen_publishes_late_what_another_has_published(
    database: Database, redis: ArqRedis, session: Session, stream: EventStream
) -> None:
    """Its session is gone meanwhile, and with that its locks."""
    await open_shop(database, {1: 5})
    await place(database, an_order({1: 1}))
    frozen = HeldStream(stream)
    task = asyncio.create_task(Relay(database, frozen).relay_batch())
    await frozen.held.wait()
    (holder,) = [
        row["Id"]
        for row in await session.run("SHOW PROCESSLIST")
        if row["db"] == session.database and row["Id"] != await session.value("SELECT CONNECTION_ID()")
    ]
    await session.run(f"KILL {holder}")
    while not await entries(redis):
        await Relay(database, stream).relay_batch()
    frozen.go_on.set()
    await asyncio.wait([task])
    assert len(await entries(redis)) == 1
    assert not await broken_invariants(database)


@pytest.mark.both_isolations
async def test_an_order_commits_while_a_relay_holds_its_batch(
    database: Database, redis: ArqRedis, session: Session, stream: EventStream
) -> None:
    """R25. Under REPEATABLE READ its locks would reach to the end of the table, and end only when that wait has failed."""
    await open_shop(database, {1: 5})
    first, second = an_order({1: 1}), an_order({1: 1})
    await place(database, first)
    await session.run("SET SESSION innodb_lock_wait_timeout = 1")
    async with a_relay_that_holds_its_batch(database, stream):
        assert await place(database, second) == ["placed"]
        await cancel(database, first)  # an event of the same order
        assert len(await session.run("SELECT event_id FROM outbox")) == 3
        assert await entries(redis) == []
    assert not await broken_invariants(database)


async def test_another_relay_takes_other_events_but_none_of_an_order_that_is_in_hand(
    database: Database, redis: ArqRedis, stream: EventStream
) -> None:
    await open_shop(database, {1: 5})
    first, second = an_order({1: 1}), an_order({1: 1})
    await place(database, first)
    other = Relay(database, stream)
    async with a_relay_that_holds_its_batch(database, stream):
        await cancel(database, first)
        await place(database, second)
        await other.relay_batch()
        assert [entry["order_id"] for entry in await entries(redis)] == [str(second.order_id)]
        assert await other.relay_batch() == GATHER_SECONDS, "one relay is enough"
        assert await other.relay_batch() == IDLE_SECONDS, "there is nothing else"
        assert len(await entries(redis)) == 1
    await other.relay_batch()
    told = [(entry["order_id"], entry["kind"]) for entry in await entries(redis)]
    assert told[1:] == [(str(first.order_id), "order.placed"), (str(first.order_id), "order.cancelled")]


async def test_what_another_relay_holds_is_passed_over_if_it_still_holds_it_at_the_next_look(
    database: Database, redis: ArqRedis, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One relay at work is enough; one that hangs must not stop the others."""
    monkeypatch.setattr(module, "MAX_EVENTS", 1)
    await open_shop(database, {1: 5})
    first, second = an_order({1: 1}), an_order({1: 1})
    await place(database, first)
    crew = Crew()
    crew.size = 4
    other = Relay(database, stream, crew)
    async with a_relay_that_holds_its_batch(database, stream):
        await place(database, second)
        assert await other.relay_batch() == 4 * GATHER_SECONDS, "relays look by turns"
        assert not await entries(redis)
        await other.relay_batch()
        assert [entry["order_id"] for entry in await entries(redis)] == [str(second.order_id)]
        assert await other.relay_batch() == IDLE_SECONDS
    assert await other.relay_batch() in {GATHER_SECONDS, IDLE_SECONDS}
    assert len(await entries(redis)) == 2


async def test_an_order_whose_first_event_could_not_be_published_keeps_its_order(
    database: Database, redis: ArqRedis, stream: EventStream
) -> None:
    """The later event is not claimed before the earlier one is gone, not even in the same batch."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    await place(database, order)
    await cancel(database, order)
    relay = Relay(database, stream)
    for _ in range(2):
        await relay.relay_batch()
    assert [entry["kind"] for entry in await entries(redis)] == ["order.placed", "order.cancelled"]


async def test_an_event_that_is_committed_late_is_published_late(
    database: Database, redis: ArqRedis, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R23. It has a smaller id than those published before: also one that lies far behind."""
    monkeypatch.setattr(module, "BEHIND_IDS", 0)
    monkeypatch.setattr(module, "SWEEP_SECONDS", NEVER)
    await open_shop(database, {1: 5, 2: 5})
    early, written, commit = an_order({1: 1}), asyncio.Event(), asyncio.Event()

    async def place_slowly(transaction: Transaction) -> None:
        await place_orders(transaction, [early])
        written.set()
        await commit.wait()

    relay = Relay(database, stream)
    task = asyncio.create_task(database.transact(place_slowly, job="test"))
    await written.wait()
    await place(database, an_order({2: 1}, customer_id=2))
    await relay.relay_batch()
    commit.set()
    await task
    await relay.relay_batch()
    assert len(await entries(redis)) == 1, "looked for behind the last one only"
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0)
    await relay.relay_batch()
    assert [entry["order_id"] for entry in await entries(redis)][1:] == [str(early.order_id)]


async def test_events_of_a_restored_database_are_published_under_ids_that_were_used_before(
    stream: EventStream, redis: ArqRedis
) -> None:
    event = RecordedEvent(1, UUID(int=1).hex, "order.placed", {}, "2026-01-01 00:00:00.000000")
    other = event._replace(order_id=UUID(int=2).hex)
    assert [await stream.publish([event]), await stream.publish([event, other])] == [1, 1]
    assert len(await entries(redis)) == 2


async def test_what_was_published_is_remembered_for_an_hour_in_eight_bytes_an_event(
    stream: EventStream, redis: ArqRedis
) -> None:
    events = [
        RecordedEvent(number, UUID(int=number).hex, "order.placed", {}, "2026-01-01 00:00:00.000000")
        for number in range(512, 1024)
    ]
    assert await stream.publish(list(reversed(events))) == 512, "in whatever order relays come"
    assert await stream.publish(events) == 0
    (page,) = await redis.keys("lockstep:events:published:*")
    assert 3500 < await redis.ttl(page) <= 3600
    assert await redis.object("ENCODING", page) == b"intset"
    assert await redis.memory_usage(page, samples=0) < 512 * 12


async def test_what_could_not_be_published_does_not_count_as_published(
    stream: EventStream, redis: ArqRedis
) -> None:
    event = RecordedEvent(1, UUID(int=1).hex, "order.placed", {}, "2026-01-01 00:00:00.000000")
    await redis.set("lockstep:events", "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await stream.publish([event])
    await redis.delete("lockstep:events")
    assert await stream.publish([event]) == 1


async def test_the_stream_keeps_about_as_many_as_it_is_told(streams: Streams, redis: ArqRedis) -> None:
    stream = streams("lockstep:events", 10)
    events = [
        RecordedEvent(number, UUID(int=number).hex, "order.placed", {}, "2026-01-01 00:00:00.000000")
        for number in range(500)
    ]
    await stream.publish(events)
    assert 10 <= await redis.xlen("lockstep:events") < 200, "Redis removes whole nodes of 100 entries"


async def test_big_events_go_in_small_batches(
    database: Database, redis: ArqRedis, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    events = [Event(UUID(int=number), "order.placed", {"text": "é🍮'\"\\" * 60}) for number in range(3)]
    await database.transact(partial(record_events, events=events), job="test")
    relay = Relay(database, stream)
    assert await relay.relay_batch() == 0, "more are waiting"
    assert len(await entries(redis)) == 2
    assert await relay.relay_batch() == GATHER_SECONDS
    assert [json.loads(entry["body"]) for entry in await entries(redis)] == [event.body for event in events]


@pytest.mark.both_isolations
async def test_many_relays_beside_orders_and_cancellations(
    database: Database, redis: ArqRedis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small batches, so that they meet often: each event once, and cancelled after placed."""
    monkeypatch.setattr(module, "MAX_EVENTS", 3)
    await open_shop(database, {1: 1000, 2: 1000})
    relays = [Relay(database, streams("lockstep:events", 10_000)) for _ in range(3)]

    async def relaying(relay: Relay) -> None:
        while True:
            await relay.relay_batch()

    async def ordering(product_id: int) -> None:
        for _ in range(40):
            order = an_order({product_id: 1}, customer_id=product_id)
            await place(database, order)
            await cancel(database, order)

    tasks = [asyncio.create_task(relaying(relay)) for relay in relays]
    await asyncio.gather(ordering(1), ordering(2))

    async def all_published() -> bool:
        return not await next_events(database, after=0, size=1)

    await until(all_published, "all events to be published")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [task for task in tasks if not task.cancelled()] == []
    told: dict[str, list[Any]] = defaultdict(list)
    for entry in await entries(redis):
        told[entry["order_id"]].append(entry["kind"])
    assert len(told) == 80
    assert {tuple(kinds) for kinds in told.values()} == {("order.placed", "order.cancelled")}
    assert not await broken_invariants(database)
