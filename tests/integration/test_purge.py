"""The purge, beside everything that may happen to an order meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from typing import Any, Final
from uuid import UUID

import pytest
from arq.worker import Worker
from rich.console import Console

from jobs.contract import Outcome
from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.known_orders import KnownOrder, find_placed_order
from jobs.orders.outcomes import NotFound, Placed
from jobs.orders.purge_orders import Purged, purge_orders
from jobs.orders.ship_order import ship_order
from jobs.transaction import Transaction
from tests.asking import Session, until_waiting
from tests.integration.letters import a_letter
from tests.shop import PRICE_CENTS, an_order, broken_invariants, empty_outbox, open_shop
from worker import upkeep
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue.dead_letters import DeadLetters
from worker.queue.idempotency import place_once
from worker.queue.replay import Replay
from worker.upkeep import KEEP_AT_LEAST, Pace, purge_with_a_bar

pytestmark = pytest.mark.both_isolations
QUIET: Final = Console(quiet=True)
HURRY: Final = Pace(hurry=True)
OLD: Final = "placed_at = '2020-01-01', recorded_at = '2020-01-01'"
LONG_AGO: Final = datetime(2021, 1, 1, tzinfo=UTC)
IDS: Final = [UUID(int=number << 100) for number in range(1, 7)]


async def place_old_orders(database: Database, session: Session, statuses: Sequence[str]) -> None:
    """Orders of 2020 with ids from `IDS`: two of product 1 for customer 1."""
    await open_shop(database, {1: 100, 2: 100})
    for order_id, status in zip(IDS, statuses, strict=False):
        await place_once(database, [an_order({1: 2}, order_id=order_id)], job="test")
        if status == "cancelled":
            await cancel(database, order_id)
        elif status == "shipped":
            await ship(database, order_id)
    await session.run(f"UPDATE orders SET {OLD}")
    await empty_outbox(database)


async def cancel(database: Database, order_id: UUID) -> Outcome:
    taken = await read_taken(database, order_id)
    assert isinstance(taken, Taken)
    return await database.transact(partial(cancel_order, taken=taken), job="test")


async def ship(database: Database, order_id: UUID) -> Outcome:
    order = await find_placed_order(database, order_id)
    assert isinstance(order, KnownOrder)
    return await database.transact(partial(ship_order, order=order), job="test")


async def orders_left(session: Session) -> list[UUID]:
    rows = await session.run("SELECT HEX(order_id) AS order_id FROM orders ORDER BY orders.order_id")
    return [UUID(row["order_id"]) for row in rows]


@asynccontextmanager
async def an_open_batch(database: Database, order_ids: Sequence[UUID]) -> AsyncIterator[asyncio.Event]:
    """A purge that has deleted everything and not committed yet; it does when it is told to, or at the end."""
    deleted, commit = asyncio.Event(), asyncio.Event()

    async def work(transaction: Transaction) -> None:
        await purge_orders(transaction, order_ids)
        deleted.set()
        await commit.wait()

    task = asyncio.create_task(database.transact(work, job="purge_orders"))
    await deleted.wait()
    try:
        yield commit
    finally:
        commit.set()
        await task


async def test_finished_orders_go_live_ones_stay_and_the_audit_holds(
    database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PAGE", 2)
    monkeypatch.setattr(upkeep, "BATCH", 1)
    await place_old_orders(database, session, ["shipped", "placed", "cancelled", "shipped"])
    await place_once(database, [an_order({1: 1000}, order_id=IDS[4])], job="test")  # rejected
    await session.run(f"UPDATE orders SET {OLD}")
    await empty_outbox(database)
    young = an_order({2: 1})
    await place_once(database, [young], job="test")
    await ship(database, young.order_id)

    said = StringIO()
    purged = await purge_with_a_bar(database, LONG_AGO, HURRY, Console(file=said))

    assert purged == Purged(orders=4, lines=3, kept=1)
    assert " 6/6 " in said.getvalue(), "the bar is full"
    assert "purged 4 orders, 3 lines in" in said.getvalue()
    assert "kept 1 old orders that are neither shipped nor cancelled, 0 with" in said.getvalue()
    assert set(await orders_left(session)) == {IDS[1], young.order_id}
    assert await session.run("SELECT * FROM purged_sales") == [{"product_id": 1, "quantity": 4}]
    assert await session.run("SELECT * FROM purged_totals") == [
        {"customer_id": 1, "total_cents": 4 * PRICE_CENTS}
    ]
    assert not await broken_invariants(database)
    assert await purge_with_a_bar(database, LONG_AGO, HURRY, QUIET) == Purged(kept=1)


async def test_an_order_is_kept_until_all_of_its_events_are_published(
    database: Database, session: Session
) -> None:
    await place_old_orders(database, session, ["shipped", "placed", "shipped"])
    await cancel(database, IDS[1])  # its first event is published, the second is not
    said = StringIO()
    first = await purge_with_a_bar(database, LONG_AGO, HURRY, Console(file=said))
    assert first == Purged(orders=2, lines=2, unpublished=1)
    assert "1 with events that are not published yet, and 0 with dead letters" in said.getvalue()
    assert not await broken_invariants(database)
    await empty_outbox(database)
    assert await purge_with_a_bar(database, LONG_AGO, HURRY, QUIET) == Purged(orders=1, lines=1)
    assert not await broken_invariants(database)


async def test_an_order_with_a_dead_letter_is_kept_so_that_a_replay_places_it_no_second_time(
    database: Database, session: Session, letters: DeadLetters, replay: Replay, worker: Worker
) -> None:
    """It was delivered twice, and one delivery was buried."""
    await place_old_orders(database, session, ["shipped", "shipped"])
    letter = a_letter(an_order({1: 2}, order_id=IDS[0]))
    await letters.bury(letter)
    said = StringIO()
    first = await purge_with_a_bar(database, LONG_AGO, HURRY, Console(file=said))
    assert first == Purged(orders=1, lines=1, buried=1)
    assert "and 1 with dead letters" in said.getvalue()
    assert (await replay.run(letter))["status"] == "placed"
    assert await session.value("SELECT available FROM stock WHERE product_id = 1") == 96
    assert await purge_with_a_bar(database, LONG_AGO, HURRY, QUIET) == Purged(orders=1, lines=1)
    assert not await broken_invariants(database)


async def test_another_purge_adds_to_what_was_purged_before(database: Database, session: Session) -> None:
    await place_old_orders(database, session, ["shipped", "shipped"])
    for order_id in IDS[:2]:
        await database.transact(partial(purge_orders, order_ids=[order_id]), job="test")
    assert await session.run("SELECT quantity FROM purged_sales") == [{"quantity": 4}]
    assert not await broken_invariants(database)


@pytest.mark.parametrize("column", ["placed_at", "recorded_at"])
async def test_an_order_is_kept_that_is_old_by_only_one_of_its_times(
    column: str, database: Database, session: Session
) -> None:
    """A maker may give a time of years ago: the job of such an order may still be delivered again."""
    await place_old_orders(database, session, ["shipped"])
    await session.run(f"UPDATE orders SET {column} = UTC_TIMESTAMP(6)")
    assert await purge_with_a_bar(database, LONG_AGO, HURRY, QUIET) == Purged()


async def test_a_new_order_is_recorded_at_the_time_of_its_transaction(
    database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1}).model_copy(update={"placed_at": datetime(2017, 1, 1, tzinfo=UTC)})
    await place_once(database, [order], job="test")
    age = "TIMESTAMPDIFF(SECOND, recorded_at, UTC_TIMESTAMP(6)) BETWEEN 0 AND 60"
    assert await session.run(f"SELECT YEAR(placed_at) AS y, {age} AS now FROM orders") == [
        {"y": 2017, "now": 1}
    ]


@pytest.mark.parametrize("too_young", [timedelta(), KEEP_AT_LEAST - timedelta(minutes=1)])
async def test_a_date_is_refused_after_which_a_job_may_come_again(
    too_young: timedelta, database: Database
) -> None:
    now = datetime.now(UTC)
    with pytest.raises(LockstepError, match="orders are kept for five weeks"):
        await purge_with_a_bar(database, now - too_young, HURRY, QUIET)
    assert await purge_with_a_bar(database, now - KEEP_AT_LEAST, HURRY, QUIET) == Purged()


async def test_orders_of_the_same_customer_and_product_commit_while_a_batch_is_open(
    database: Database, session: Session
) -> None:
    await place_old_orders(database, session, ["shipped", "shipped", "placed"])
    async with an_open_batch(database, IDS[:2]):
        order = an_order({1: 1}, order_id=IDS[5])
        assert await place_once(database, [order], job="test") == [
            Placed(order_id=order.order_id, total_cents=PRICE_CENTS)
        ]
        await ship(database, order.order_id)
        await cancel(database, IDS[2])  # an old one next to the batch
        assert not await broken_invariants(database)
    assert set(await orders_left(session)) == {IDS[2], IDS[5]}
    assert not await broken_invariants(database)


async def test_an_order_whose_id_lies_within_an_open_batch_waits_for_it(
    database: Database, session: Session
) -> None:
    """The foreign key of the lines locks the gaps between deleted orders: only random ids fall into one."""
    await place_old_orders(database, session, ["shipped", "shipped", "placed"])
    between = an_order({1: 1}, order_id=UUID(int=IDS[0].int + 1))
    async with an_open_batch(database, IDS[:2]) as commit:
        placing = asyncio.create_task(place_once(database, [between], job="test"))
        await until_waiting(session, 1)
        commit.set()
        assert await placing == [Placed(order_id=between.order_id, total_cents=PRICE_CENTS)]
    assert not await broken_invariants(database)


@pytest.mark.parametrize("ask", [cancel, ship])
async def test_an_order_that_is_being_purged_is_not_found(
    ask: Callable[[Database, UUID], Coroutine[Any, Any, Outcome]], database: Database, session: Session
) -> None:
    await place_old_orders(database, session, ["shipped", "placed"])
    async with an_open_batch(database, IDS[:1]) as commit:
        asking = asyncio.create_task(ask(database, IDS[0]))
        await until_waiting(session, 1)
        commit.set()
        assert await asking == NotFound(order_id=IDS[0])
    assert await read_taken(database, IDS[0]) == NotFound(order_id=IDS[0])
    assert not await broken_invariants(database)


async def test_a_purged_id_would_be_placed_anew(database: Database, session: Session) -> None:
    """Why the purge keeps five weeks."""
    await place_old_orders(database, session, ["shipped"])
    await purge_with_a_bar(database, LONG_AGO, HURRY, QUIET)
    (outcome,) = await place_once(database, [an_order({1: 2}, order_id=IDS[0])], job="test")
    assert isinstance(outcome, Placed)
    assert await session.value("SELECT available FROM stock WHERE product_id = 1") == 96
    assert not await broken_invariants(database)


async def test_two_purges_at_once_remove_each_order_once(database: Database, session: Session) -> None:
    await place_old_orders(database, session, ["shipped"] * 6)
    first, second = await asyncio.gather(
        purge_with_a_bar(database, LONG_AGO, HURRY, QUIET), purge_with_a_bar(database, LONG_AGO, HURRY, QUIET)
    )
    assert (first.orders + second.orders, first.lines + second.lines) == (6, 6)
    assert await session.value("SELECT quantity FROM purged_sales") == 12
    assert not await broken_invariants(database)


async def test_a_purge_that_is_interrupted_has_removed_whole_batches_and_goes_on_the_next_time(
    database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    await place_old_orders(database, session, ["shipped"] * 6)
    await session.run("BEGIN")
    await session.run(f"SELECT * FROM orders WHERE order_id = UNHEX('{IDS[3].hex}') FOR UPDATE")
    said = StringIO()
    purging = asyncio.create_task(purge_with_a_bar(database, LONG_AGO, HURRY, Console(file=said)))
    await until_waiting(session, 1)
    purging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await purging
    await session.run("COMMIT")
    assert "purged 2 orders, 2 lines" in said.getvalue()
    assert await orders_left(session) == IDS[2:]
    assert not await broken_invariants(database)
    assert (await purge_with_a_bar(database, LONG_AGO, HURRY, QUIET)).orders == 4
    assert not await broken_invariants(database)
