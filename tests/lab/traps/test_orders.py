"""Traps in what an order asks of its tables."""

import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import uuid4

import pytest

from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.outcomes import Rejected
from jobs.orders.place_orders import place_orders
from jobs.orders.requests import Line, PlaceOrder, Restock
from jobs.transaction import Transaction
from tests.asking import Session, open_session, until_waiting
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue.idempotency import place_once, restock_once
from worker.settings import Settings


def twice(quantity: int) -> PlaceOrder:
    """An order of the same product in two lines."""
    line = Line(product_id=1, quantity=quantity)
    return PlaceOrder(order_id=uuid4(), customer_id=1, lines=(line, line))


async def test_same_product_twice_wrong_each_line_passes_and_both_oversell(session: Session) -> None:
    """P51. Every line is checked against the same number, which is right for one of them."""
    await session.run("CREATE TEMPORARY TABLE shelf (product_id INT PRIMARY KEY, available INT)")
    await session.run("INSERT INTO shelf VALUES (1, 3)")
    await session.run("BEGIN")
    locked = {
        row["product_id"]: row["available"] for row in await session.run("SELECT * FROM shelf FOR UPDATE")
    }
    lines = twice(2).lines
    assert all(line.quantity <= locked[line.product_id] for line in lines)
    for line in lines:
        await session.run(
            f"UPDATE shelf SET available = available - {line.quantity} WHERE product_id = {line.product_id}"
        )
    await session.run("COMMIT")
    assert await session.value("SELECT available FROM shelf") == -1


async def test_same_product_twice_right_the_lines_are_one(database: Database, session: Session) -> None:
    """P51. Two and two are four, which three are short of; one and one are two."""
    await open_shop(database, {1: 3})
    short, enough = twice(2), twice(1)
    outcomes = await place_once(database, [short, enough], job="test")
    assert outcomes[0] == Rejected(order_id=short.order_id, reason="insufficient_stock", product_id=1)
    assert outcomes[1].status == "placed"
    assert await session.run("SELECT quantity FROM order_lines") == [{"quantity": 2}]
    assert await session.value("SELECT available FROM stock") == 1
    assert not await broken_invariants(database)


async def test_convoy_on_a_hot_row_wrong_every_order_waits_for_the_row(
    database: Database, settings: Settings, session: Session, other_session: Session
) -> None:
    """P50. Eight orders of one product are eight transactions, which lock its row one after the other."""
    await open_shop(database, {1: 8})
    await session.run("BEGIN")
    await session.run("SELECT available FROM stock FOR UPDATE")

    async def place() -> None:
        async with open_session(settings.mysql_url) as own:
            await own.run("BEGIN")
            await own.run("SELECT available FROM stock WHERE product_id = 1 FOR UPDATE")
            await own.run("UPDATE stock SET available = available - 1 WHERE product_id = 1")
            await own.run("COMMIT")

    tasks = [asyncio.create_task(place()) for _ in range(8)]
    convoy = await until_waiting(other_session, 8)
    await session.run("COMMIT")
    await asyncio.gather(*tasks)
    assert len(convoy) == 8
    assert await session.value("SELECT available FROM stock") == 0


async def test_convoy_on_a_hot_row_right_orders_that_come_together_wait_once(
    database: Database, session: Session, other_session: Session
) -> None:
    """P50. One transaction locks the row once for all of them."""
    await open_shop(database, {1: 8})
    await session.run("BEGIN")
    await session.run("SELECT available FROM stock FOR UPDATE")
    orders = [an_order({1: 1}, customer_id) for customer_id in range(1, 9)]
    task = asyncio.create_task(place_once(database, orders, job="test"))
    first = await until_waiting(other_session, 1)
    await asyncio.wait([task], timeout=0.3)
    assert await until_waiting(other_session, 1) == first, "nobody else has come"
    await session.run("COMMIT")
    assert [outcome.status for outcome in await task] == ["placed"] * 8
    assert await session.value("SELECT available FROM stock") == 0
    assert not await broken_invariants(database)


async def test_auto_increment_wrong_a_rollback_leaves_a_gap(session: Session) -> None:
    """P61. A number that was given out is not given back: no invoice 2, and no way to count by it."""
    await session.run(
        "CREATE TEMPORARY TABLE invoices (number INT NOT NULL AUTO_INCREMENT PRIMARY KEY, customer_id INT)"
    )
    for end in ("COMMIT", "ROLLBACK", "COMMIT"):
        await session.run("BEGIN")
        await session.run("INSERT INTO invoices (customer_id) VALUES (1)")
        await session.run(end)
    numbers = [row["number"] for row in await session.run("SELECT number FROM invoices ORDER BY number")]
    assert numbers == [1, 3]


async def test_auto_increment_right_orders_are_counted_and_keyed_without_it(
    database: Database, session: Session
) -> None:
    """P61. An order's id is its caller's; the events have gaps, and nobody takes them for a count."""
    await open_shop(database, {1: 5})
    for fails in (False, True, False):
        work = partial(place_and_perhaps_fail, orders=[an_order({1: 1})], fails=fails)
        if fails:
            with pytest.raises(KeyError):
                await database.transact(work, job="test")
        else:
            await database.transact(work, job="test")
    ids = [row["event_id"] for row in await session.run("SELECT event_id FROM outbox ORDER BY event_id")]
    assert len(ids) == 2
    assert ids[1] - ids[0] > 1, "there is a gap"
    assert await session.value("SELECT COUNT(*) FROM orders") == 2
    assert not await broken_invariants(database)


async def place_and_perhaps_fail(
    transaction: Transaction, orders: Sequence[PlaceOrder], *, fails: bool
) -> None:
    await place_orders(transaction, orders)
    if fails:
        raise KeyError("a bug")


async def test_affected_rows_wrong_a_row_that_is_there_seems_missing(
    database: Database, session: Session
) -> None:
    """P63. An UPDATE to the same value changes no row, which is taken for "there is no such product"."""
    await open_shop(database, {1: 5})
    cursor = await session._connection.cursor()
    affected = [
        await cursor.execute(f"UPDATE stock SET price_cents = 150 WHERE product_id = {product_id}")
        for product_id in (1, 1, 2)
    ]
    assert affected == [1, 0, 0], "said again is the same as never there"


async def test_affected_rows_right_the_locked_row_says_what_is_there(
    database: Database, session: Session
) -> None:
    """P63. What is asked again gets the same answer, and what is missing another one."""
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    await place_once(database, [order], job="test")
    statuses = []
    for _ in range(2):
        taken = await read_taken(database, order.order_id)
        assert isinstance(taken, Taken)
        outcome = await database.transact(partial(cancel_order, taken=taken), job="test")
        statuses.append(outcome.status)
    assert statuses == ["cancelled", "cancelled"]
    missing = Restock(restock_id=uuid4(), product_id=2, quantity=1)
    assert (await restock_once(database, missing)).status == "unknown_product"
    assert await session.value("SELECT available FROM stock") == 5, "given back once"
    assert not await broken_invariants(database)
