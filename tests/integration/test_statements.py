"""How the statements of sql/ are run by the server: plans, and the order of locks."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import product as combinations
from typing import Any, Final

import orjson
import pytest

from jobs.contract import MAX_ID
from jobs.orders.add_catalogue import Product, add_products
from jobs.orders.decision import Stock
from jobs.orders.locks import lock_customers, lock_stock
from jobs.transaction import Statement, Transaction, load_statements
from tests.asking import Session, until_waiting
from tests.offenders import assert_none
from tests.shop import open_shop
from worker.database.examples import EXAMPLES
from worker.database.plans import BY_DESIGN, Plan, all_statements, explain
from worker.database.retry import DatabaseError
from worker.database.transactions import Database

Lock = Callable[[Transaction, Sequence[int]], Awaitable[dict[int, Any]]]
TABLES: Final = {
    "customers",
    "stock",
    "orders",
    "order_lines",
    "products",
    "restocks",
    "outbox",
    "earlier",
    "intake",
    "dead_letters",
    "reviews",
    "api_keys",
}
# The tables that the others read; an INSERT reads none.
READS: Final = {
    "lock_customers": {"customers"},
    "lock_stock": {"stock"},
    "free_customers": {"customers"},
    "free_stock": {"stock"},
    "existing_customers": {"customers"},
    "existing_stock": {"stock"},
    "lock_order": {"orders"},
    "set_order_status": {"orders"},
    "known_orders": {"orders"},
    "lines_of_order": {"order_lines"},
    "move_stock": {"stock"},
    "move_balances": {"customers"},
    "known_restock": {"restocks"},
    "lock_orders": {"orders"},
    "page_of_orders": {"orders"},
    "old_orders": {"orders"},
    "sold_by_orders": {"order_lines"},
    "orders_with_events": {"outbox"},
    "orders_with_letters": {"dead_letters"},
    "next_events": {"outbox", "earlier"},
    "lock_events": {"outbox"},
    "delete_events": {"outbox"},
    "delete_order_lines": {"order_lines"},
    "delete_orders": {"orders"},
    "lock_staged": {"intake"},
    "lock_overdue": {"intake"},
    "work_for_a_sweep": {"intake"},
    "free_staged": {"intake"},
    "free_requests": {"intake"},
    "staged_orders": {"intake"},
    "mark_enqueued": {"intake"},
    "delete_staged": {"intake"},
    "dead_letters_of": {"dead_letters"},
    "page_of_dead_letters": {"dead_letters"},
    "delete_dead_letter": {"dead_letters"},
    "order_now": {"orders", "order_lines", "intake"},
    "staged_requests": {"intake"},
    "revoke_api_key": {"api_keys"},
    "record_use": {"api_keys"},
    "product_names": {"products"},
    "oldest_dead_letters": {"dead_letters"},
    "example_ids": {"orders"},
    "product": {"products", "stock"},
    "page_of_products": {"products", "stock"},
    "reviews_of_product": {"products", "reviews", "customers"},
    "orders_of_customer": {"customers", "orders", "order_lines", "products"},
    "parties_of_review": {"products", "customers"},
    "count_review": {"products"},
    "review": {"reviews", "customers"},
}
KEYS: Final = {
    "orders_with_events": {"outbox_of_order"},
    "next_events": {"PRIMARY", "outbox_of_order"},
    "lock_staged": {"intake_by_enqueued"},
    "lock_overdue": {"intake_by_enqueued"},
    "work_for_a_sweep": {"intake_by_enqueued"},
    "oldest_dead_letters": {"dead_letters_by_time"},
    "reviews_of_product": {"PRIMARY", "reviews_of_product"},
    "orders_of_customer": {"PRIMARY", "orders_of_customer"},
}  # of the others: PRIMARY
WALKS: Final = {"oldest_dead_letters"}  # its index, up to the limit
STATEMENTS: Final = [statement for name, (_, statement) in all_statements().items() if name not in BY_DESIGN]


async def test_every_statement_finds_its_rows_by_a_key(database: Database, session: Session) -> None:
    """On tables larger than the array: no full scan, no filesort, no index merge."""
    assert STATEMENTS
    await fill_tables(database, session)
    faults = {statement.name: await faults_of(statement, database) for statement in STATEMENTS}
    assert_none(f"{name} {fault}" for name, found in faults.items() for fault in found)


async def faults_of(statement: Statement, database: Database) -> list[str]:
    try:
        return list(faults_of_plan(await explain(database, statement, EXAMPLES)))
    except (DatabaseError, KeyError) as error:
        return [f"cannot be explained: {error!r}"]


def faults_of_plan(plan: Plan) -> Iterator[str]:
    yield from plan.faults
    name = plan.statement.name
    read = [step for step in plan.steps if step.table in TABLES and step.kind != "INSERT"]
    if (tables := {step.table for step in read}) != READS.get(name, set()):
        yield f"reads {tables}, not {READS.get(name, set())}"
    accesses = {step.access for step in read}
    if not accesses <= {"const", "eq_ref", "ref", "range"} and name not in WALKS:
        yield f"reads by {accesses}"
    keys = {step.key for step in read}
    if not keys <= KEYS.get(name, {"PRIMARY"}):
        yield f"reads by the keys {keys}"


async def fill_tables(database: Database, session: Session) -> None:
    await open_shop(database, dict.fromkeys(range(1, 500), 5))
    await session.run(
        "INSERT INTO orders SELECT UNHEX(LPAD(HEX(product_id), 32, '0')), 1, 'placed', NULL, NULL, 1, REPEAT('x', 16), NOW(6), NOW(6) FROM stock"
    )
    await session.run("INSERT INTO order_lines SELECT order_id, 1, 1, 1 FROM orders")
    await session.run("INSERT INTO reviews SELECT order_id, 1, 1, 5, 'x', NOW(6) FROM orders")
    await session.run(
        "INSERT INTO outbox (order_id, kind, body, recorded_at) SELECT order_id, 'x', '{}', NOW() FROM orders"
    )
    await session.run("INSERT INTO intake (order_id, request) SELECT order_id, '{}' FROM orders")
    await session.run(
        "INSERT INTO dead_letters SELECT order_id, order_id, 'x', '{}', '', 1, NULL, NOW(6) FROM orders"
    )
    await session.run("INSERT INTO api_keys (name, key_hash) SELECT product_id, REPEAT('x', 32) FROM stock")
    await session.run(
        "ANALYZE TABLE orders, order_lines, stock, customers, products, restocks, reviews, outbox, intake, dead_letters, api_keys"
    )
    await session.run("UPDATE restocks SET restock_id = UNHEX(LPAD('1', 32, '0')) WHERE product_id = 1")


@pytest.mark.parametrize("lock", [lock_stock, lock_customers])
async def test_rows_are_locked_in_ascending_order_whatever_order_they_are_asked_in(
    lock: Lock, database: Database, session: Session, other_session: Session
) -> None:
    """Who holds the middle row stops the lock before the last one, and after the first."""
    table, key = ("stock", "product_id") if lock is lock_stock else ("customers", "customer_id")
    await open_shop(database, dict.fromkeys(range(1, 10), 5))
    await session.run("BEGIN")
    await session.run(f"SELECT * FROM {table} WHERE {key} = 5 FOR UPDATE")
    task = asyncio.create_task(
        database.transact(lambda transaction: lock(transaction, [9, 5, 1]), job="test")
    )
    await until_waiting(other_session, 1)
    free = f"SELECT {key} FROM {table} WHERE {key} IN (1, 5, 9) ORDER BY {key} FOR UPDATE SKIP LOCKED"
    assert await other_session.run(free) == [{key: 9}]
    await session.run("COMMIT")
    assert set(await task) == {1, 5, 9}


@pytest.mark.parametrize("name", ["lock_stock", "lock_customers"])
async def test_the_order_of_the_array_is_the_order_of_the_locks(
    name: str, database: Database, session: Session, other_session: Session
) -> None:
    """The statement itself, with a descending array: the optimizer does not sort it back."""
    await open_shop(database, dict.fromkeys(range(1, 10), 5))
    statement = load_statements("orders/locks.sql")[name]
    table, key = ("stock", "product_id") if name == "lock_stock" else ("customers", "customer_id")
    await session.run("BEGIN")
    await session.run(f"SELECT * FROM {table} WHERE {key} = 5 FOR UPDATE")
    wanted = {f"{key}s": [9, 5, 1]}
    task = asyncio.create_task(
        database.transact(lambda transaction: transaction.fetch(statement, wanted), job="test")
    )
    await until_waiting(other_session, 1)
    free = f"SELECT {key} FROM {table} WHERE {key} IN (1, 5, 9) ORDER BY {key} FOR UPDATE SKIP LOCKED"
    assert await other_session.run(free) == [{key: 1}]
    await session.run("COMMIT")
    (row,) = await task
    assert [locked_id for locked_id, *_ in orjson.loads(row["locked"])] == [9, 5, 1]


async def test_locked_rows_come_back_whole(database: Database, session: Session) -> None:
    """MariaDB cuts a JSON array at group_concat_max_len, by default at 1 MiB, with no more than a warning."""
    ids = range(MAX_ID - 20_000, MAX_ID)
    await open_shop(database, dict.fromkeys(ids, 5))
    widest = Stock(ids[0], price_cents=2**32 - 1, available=MAX_ID)
    await session.run(f"UPDATE stock SET price_cents = {widest.price_cents}, available = {widest.available}")
    locked = await database.transact(lambda transaction: lock_stock(transaction, ids), job="test")
    assert len(orjson.dumps([list(row) for row in locked.values()])) > 2**20
    assert locked == {product_id: widest._replace(product_id=product_id) for product_id in ids}


EVERY_CHARACTER: Final = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
QUOTING: Final = "'\"\\%s(;-\n\r\0\x1a é🍮"  # what ends a string, escapes, or begins a parameter or a comment


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(
            [EVERY_CHARACTER[start : start + 255] for start in range(0, len(EVERY_CHARACTER), 255)],
            id="every_character",
        ),
        pytest.param(
            ["".join(three) for three in combinations(QUOTING, repeat=3)],
            id="every_three_that_quoting_may_trip_on",
        ),
    ],
)
async def test_a_name_keeps_every_character(
    names: Sequence[str], database: Database, session: Session
) -> None:
    """JSON_TABLE's columns have a character set of their own on MariaDB, and no backslash escapes in our strings."""
    products = [
        Product(product_id=product_id, name=name, price_cents=1, available=1)
        for product_id, name in enumerate(names, start=1)
    ]
    await database.transact(partial(add_products, products=products), job="test")
    kept = await session.run("SELECT name FROM products ORDER BY product_id")
    assert [row["name"] for row in kept] == list(names)
