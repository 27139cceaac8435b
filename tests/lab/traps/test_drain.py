"""Traps of those who empty an outbox: the events are production's own, the reading is SQL.

What the production relay does is in tests/integration/test_relay.py.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from jobs.orders.place_orders import place_orders
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Transaction
from tests.asking import PATIENCE_SECONDS, Session, open_session, until_waiting
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue.idempotency import place_once
from worker.settings import Settings

READ: Final = "SELECT event_id FROM outbox ORDER BY event_id LIMIT {limit} FOR UPDATE"


async def begin(session: Session, level: str) -> None:
    await session.run(f"SET TRANSACTION ISOLATION LEVEL {level}")
    await session.run("START TRANSACTION")


async def read(session: Session, lock: str, limit: int = 100) -> list[int]:
    """The ids of the first events, locked."""
    return [row["event_id"] for row in await session.run(READ.format(limit=limit) + lock)]


async def drain(session: Session) -> list[int]:
    """Publish what can be had at this moment, and delete exactly that."""
    await begin(session, "READ COMMITTED")
    ids = await read(session, " SKIP LOCKED")
    if ids:
        await session.run(f"DELETE FROM outbox WHERE event_id IN ({', '.join(map(str, ids))})")
    await session.run("COMMIT")
    return ids


@asynccontextmanager
async def an_early_event_that_commits_late(database: Database) -> AsyncIterator[asyncio.Task[None]]:
    """Inside, the first event is written, but not committed; the second one, of another order, is."""
    await open_shop(database, {1: 5, 2: 5})
    order, written, commit = an_order({1: 1}, customer_id=1), asyncio.Event(), asyncio.Event()

    async def place_slowly(transaction: Transaction) -> None:
        await place_orders(transaction, [order])
        written.set()
        await commit.wait()

    task = asyncio.create_task(database.transact(place_slowly, job="test"))
    await written.wait()
    await place_once(database, [an_order({2: 1}, customer_id=2)], job="test")
    try:
        yield task
    finally:
        commit.set()
        await task


async def test_drain_up_to_the_last_id_wrong_an_event_is_deleted_that_nobody_has_read(
    database: Database, session: Session, other_session: Session
) -> None:
    """R23. Ids are given out before the commit, so a smaller one may appear after a greater one."""
    async with an_early_event_that_commits_late(database):
        published = [row["event_id"] for row in await session.run("SELECT event_id FROM outbox")]
        assert len(published) == 1
        deletion = asyncio.create_task(session.run(f"DELETE FROM outbox WHERE event_id <= {published[-1]}"))
        await until_waiting(other_session, 1)
    await deletion
    assert await session.value("SELECT COUNT(*) FROM orders") == 2
    assert await session.value("SELECT COUNT(*) FROM outbox") == 0, "one event of two was published"
    assert set(await broken_invariants(database)) == {"every_outcome_has_one_event"}


async def test_drain_from_the_last_id_wrong_an_event_is_never_read(
    database: Database, session: Session
) -> None:
    """R23. Whoever remembers the greatest id and goes on from there passes by what commits late."""
    published: list[int] = []

    async def read_on() -> None:
        last = max(published, default=0)
        rows = await session.run(f"SELECT event_id FROM outbox WHERE event_id > {last} ORDER BY event_id")
        published.extend(row["event_id"] for row in rows)

    async with an_early_event_that_commits_late(database):
        await read_on()
    await read_on()
    assert len(published) == 1
    assert await session.value("SELECT COUNT(*) FROM outbox") == 2


async def test_drain_by_the_ids_read_right_every_event_is_read_once(
    database: Database, session: Session
) -> None:
    """R23. What is locked by its writer is left for the next time; what was read is deleted by its id."""
    async with an_early_event_that_commits_late(database):
        first = await drain(session)
    second = await drain(session)
    assert [len(first), len(second)] == [1, 1]
    assert second < first, "the early event, late"
    assert await session.value("SELECT COUNT(*) FROM outbox") == 0


async def two_events(database: Database) -> None:
    await open_shop(database, {1: 5})
    for _ in range(2):
        await place_once(database, [an_order({1: 1})], job="test")


async def test_convoy_of_relays_wrong_the_second_one_waits_for_the_first(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """R24. With FOR UPDATE alone, a second relay only waits, although there is work for both."""
    await two_events(database)
    await begin(session, "READ COMMITTED")
    await begin(other_session, "READ COMMITTED")
    await read(session, "", limit=1)
    second = asyncio.create_task(read(other_session, "", limit=1))
    async with open_session(settings.mysql_url) as watcher:
        await until_waiting(watcher, 1)
    assert not second.done()
    await session.run("ROLLBACK")
    await second


async def test_convoy_of_relays_right_the_second_one_takes_other_events(
    database: Database, session: Session, other_session: Session
) -> None:
    """R24. SKIP LOCKED."""
    await two_events(database)
    await begin(session, "READ COMMITTED")
    await begin(other_session, "READ COMMITTED")
    first = await read(session, " SKIP LOCKED", limit=1)
    second = await asyncio.wait_for(read(other_session, " SKIP LOCKED", limit=1), timeout=PATIENCE_SECONDS)
    assert [len(first), len(second)] == [1, 1]
    assert first != second


async def placing(database: Database, orders: Sequence[PlaceOrder]) -> list[str]:
    return [outcome.status for outcome in await place_once(database, orders, job="test")]


async def test_range_scan_of_the_outbox_wrong_it_stops_the_orders(
    database: Database, session: Session, other_session: Session
) -> None:
    """R25. Under REPEATABLE READ a relay locks the end of the index, even when there is nothing to read."""
    await open_shop(database, {1: 5})
    await begin(session, "REPEATABLE READ")
    assert await read(session, " SKIP LOCKED") == []
    order = asyncio.create_task(placing(database, [an_order({1: 1})]))
    await until_waiting(other_session, 1)
    assert not order.done()
    await session.run("ROLLBACK")
    assert await order == ["placed"]


async def test_range_scan_of_the_outbox_right_the_orders_go_on(database: Database, session: Session) -> None:
    """R25. Under READ COMMITTED it locks the events that it reads, by primary key, and no gap."""
    await two_events(database)
    await begin(session, "READ COMMITTED")
    assert len(await read(session, " SKIP LOCKED")) == 2
    assert await asyncio.wait_for(placing(database, [an_order({1: 1})]), timeout=PATIENCE_SECONDS) == [
        "placed"
    ]
    await session.run("ROLLBACK")
