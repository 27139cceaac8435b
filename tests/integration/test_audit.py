"""Each invariant, broken on purpose: an audit that cannot fail proves nothing."""

import asyncio
import contextvars
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID

import pytest

from jobs.orders import audit as module
from jobs.orders.audit import Checked, Finding, audit
from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.known_orders import KnownOrder, find_placed_order
from jobs.orders.pages import pages_of_orders
from jobs.orders.purge_orders import Purged, purge_orders
from jobs.orders.ship_order import ship_order
from jobs.transaction import Statement, Transaction, load_statements
from tests.asking import Session
from tests.shop import an_order, broken_invariants, empty_outbox, open_shop
from worker.database.transactions import Database
from worker.queue.idempotency import place_once

BREAKS: Final = {
    "stock_adds_up": "UPDATE stock SET available = available + 1 WHERE product_id = 1",
    "every_product_has_stock": "DELETE FROM products WHERE product_id = 2",
    "balances_add_up": "UPDATE customers SET balance_cents = balance_cents + 1 WHERE customer_id = 1",
    "totals_add_up": "UPDATE order_lines SET unit_price_cents = unit_price_cents + 1",
    "orders_name_known_customers_and_products": "UPDATE orders SET customer_id = 99",
    "every_outcome_has_one_event": "DELETE FROM outbox",
    "reviews_are_counted": "UPDATE products SET review_count = 1",
}
UNCHECKED: Final = {
    "stock_is_never_negative": ("stock", "UPDATE stock SET available = -1 WHERE product_id = 1"),
    "no_credit_limit_is_passed": (
        "customers",
        "UPDATE customers SET credit_limit_cents = 1 WHERE customer_id = 1",
    ),
}
CHECKS: Final = {"stock": "stock_never_negative", "customers": "customers_within_limit"}


@pytest.mark.parametrize("invariant", BREAKS)
async def test_a_broken_invariant_is_found(invariant: str, database: Database, session: Session) -> None:
    await open_shop(database, {1: 5, 2: 5})
    await place_once(database, [an_order({1: 2})], job="test")
    assert not await broken_invariants(database)
    await session.run(BREAKS[invariant])
    assert (await broken_invariants(database))[invariant]


@pytest.mark.parametrize("invariant", UNCHECKED)
async def test_what_the_server_checks_itself_is_found_too(
    invariant: str, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    await place_once(database, [an_order({1: 2})], job="test")
    table, break_it = UNCHECKED[invariant]
    with pytest.raises(Exception, match=CHECKS[table]):
        await session.run(break_it)
    mariadb = "MariaDB" in await session.value("SELECT VERSION()")
    alter = f"ALTER TABLE {table} ALTER CHECK {CHECKS[table]}"
    await session.run("SET SESSION check_constraint_checks = OFF" if mariadb else f"{alter} NOT ENFORCED")
    await session.run(break_it)
    assert (await broken_invariants(database))[invariant]
    await session.run(f"DELETE FROM {table}")
    if not mariadb:
        await session.run(f"{alter} ENFORCED")


async def test_an_order_without_lines_is_found(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    await place_once(database, [an_order({1: 2})], job="test")
    await session.run("DELETE FROM order_lines")
    broken = await broken_invariants(database)
    assert set(broken) == {"stock_adds_up", "totals_add_up"}


async def test_an_event_without_an_order_is_found(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    await session.run(
        "INSERT INTO outbox (order_id, kind, body, recorded_at) VALUES (REPEAT('x', 16), 'order.placed', '{}', NOW())"
    )
    assert set(await broken_invariants(database)) == {"every_outcome_has_one_event"}


@pytest.mark.parametrize(
    "break_it",
    [
        "INSERT INTO outbox (order_id, kind, body, recorded_at) SELECT order_id, 'order.placed', '{}', NOW() FROM orders",
        "UPDATE published_events SET events = events - 1",
        "UPDATE orders SET status = 'cancelled'",
        "DELETE FROM published_events",
    ],
)
async def test_an_event_too_many_or_too_few_is_found_after_it_was_published(
    break_it: str, database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    await place_once(database, [an_order({1: 1})], job="test")
    assert not await broken_invariants(database)
    await empty_outbox(database)
    assert not await broken_invariants(database)
    await session.run(break_it)
    assert "every_outcome_has_one_event" in await broken_invariants(database)


async def test_an_event_that_was_recorded_twice_is_named(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    await place_once(database, [an_order({1: 1})], job="test")
    await session.run(
        "INSERT INTO outbox (order_id, kind, body, recorded_at) SELECT order_id, kind, body, recorded_at FROM outbox"
    )
    assert "2 events order.placed" in str((await broken_invariants(database))["every_outcome_has_one_event"])


async def test_every_page_is_checked_and_none_twice(
    database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of one row, the first and the last id that can be, and an order in the middle that is wrong."""
    monkeypatch.setattr(module, "PAGE", 1)
    await open_shop(database, {1: 10, 2: 10, 3: 10})
    middle = UUID(int=5 << 64)
    for order_id in (UUID(int=0), UUID(int=1), middle, UUID(int=2**128 - 1)):
        await place_once(database, [an_order({1: 2, 3: 1}, order_id=order_id)], job="test")
    told: list[Checked] = []
    findings = await database.transact(
        partial(audit, report=lambda checked: told.append(replace(checked))), job="audit"
    )
    assert not [finding for finding in findings if finding.violations]
    assert told[-1] == Checked(orders=4, lines=8, products=3, customers=9, restocks=3)
    await session.run(f"UPDATE order_lines SET quantity = 7 WHERE order_id = UNHEX('{middle.hex}')")
    broken = await broken_invariants(database)
    assert set(broken) == {"stock_adds_up", "totals_add_up"}
    assert middle.hex.upper() in str(broken["totals_add_up"])


async def test_the_audit_sees_one_moment_while_orders_are_placed(
    database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order, a cancellation, published events and a purge between two pages change nothing of what it adds up."""
    monkeypatch.setattr(module, "PAGE", 1)
    await open_shop(database, {1: 10})
    old, kept, new = (an_order({1: 1}, order_id=UUID(int=number)) for number in (3, 5, 7))
    await place_once(database, [old, kept], job="test")
    order = await find_placed_order(database, old.order_id)
    assert isinstance(order, KnownOrder)
    await database.transact(partial(ship_order, order=order), job="test")

    async def disturb() -> None:
        await place_once(database, [new], job="test")
        taken = await read_taken(database, kept.order_id)
        assert isinstance(taken, Taken)
        await database.transact(partial(cancel_order, taken=taken), job="test")
        await empty_outbox(database)
        purged = await database.transact(partial(purge_orders, order_ids=[old.order_id]), job="test")
        assert purged == Purged(orders=1, lines=1)

    async def audit_with_a_disturbance(transaction: Transaction) -> list[Finding]:
        books = module._Books()
        await books.open(transaction)
        await asyncio.create_task(disturb(), context=contextvars.Context())  # transactions of others
        async for page in pages_of_orders(transaction, 1):
            await books.add(transaction, page)
        return books.close()

    findings = await database.transact(audit_with_a_disturbance, job="audit")
    assert not [finding for finding in findings if finding.violations]
    assert not await broken_invariants(database)


async def test_the_audit_locks_nothing(database: Database, session: Session) -> None:
    """It does not wait for the locks of others either."""
    await open_shop(database, {1: 10})
    await place_once(database, [an_order({1: 1})], job="test")
    await session.run("BEGIN")
    for table in ("orders", "order_lines", "stock", "customers", "outbox", "products", "restocks"):
        await session.run(f"SELECT * FROM {table} FOR UPDATE")
    assert not await broken_invariants(database)
    await session.run("COMMIT")


@pytest.mark.filterwarnings("ignore::pymysql.err.Warning")  # MySQL gives the rewritten statement as a note
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("owed_by_page", {"PRIMARY"}),
        ("taken_by_page", {"PRIMARY"}),
        ("totals_add_up", {"PRIMARY"}),
        ("orders_by_page", {"PRIMARY"}),
        ("events_by_page", {"outbox_of_order"}),
        ("every_outcome_has_one_event", {"PRIMARY", "outbox_of_order"}),
    ],
)
async def test_a_page_is_found_by_its_keys(
    name: str, keys: set[str], database: Database, session: Session
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 500), 5))
    await session.run(
        "INSERT INTO orders SELECT UNHEX(LPAD(HEX(product_id), 32, '0')), 1, 'placed', NULL, NULL, 1,"
        " REPEAT('x', 16), NOW(6), NOW(6) FROM stock"
    )
    await session.run("INSERT INTO order_lines SELECT order_id, 1, 1, 1 FROM orders")
    await session.run(
        "INSERT INTO outbox (order_id, kind, body, recorded_at) SELECT order_id, 'x', '{}', NOW() FROM orders"
    )
    await session.run("ANALYZE TABLE orders, order_lines, outbox")
    text = load_statements("orders/audit.sql")[name].text
    plan = await database.fetch(
        Statement("explain", f"EXPLAIN FORMAT=TRADITIONAL {text}"),
        {"after": f"{7:032x}", "last": f"{9:032x}"},
    )
    read = [row for row in plan if row["table"] in {"orders", "order_lines", "outbox"}]
    assert {row["type"] for row in read} <= {"range", "ref", "eq_ref"}
    assert {row["key"] for row in read} == keys
