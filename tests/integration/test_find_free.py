"""Which orders could be placed now without waiting for a row."""

from functools import partial

import pytest

from jobs.orders.place_orders import find_free
from jobs.orders.requests import PlaceOrder
from tests.asking import Session
from tests.shop import an_order, open_shop
from worker.database.transactions import Database

pytestmark = pytest.mark.both_isolations

UNKNOWN = 77


async def free(database: Database, orders: list[PlaceOrder]) -> list[bool]:
    return await database.transact(partial(find_free, orders=orders), job="find_free")


async def test_an_order_is_free_unless_another_transaction_holds_a_row_of_it(
    database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5, 2: 5, 3: 5})
    orders = [
        an_order({1: 1}, customer_id=1),
        an_order({2: 1}, customer_id=1),
        an_order({1: 1, 2: 1, 3: 1}, customer_id=1),
        an_order({1: 1}, customer_id=2),
        an_order({1: 1, 3: 1}, customer_id=3),
    ]
    assert await free(database, orders) == [True] * 5
    await session.run("BEGIN")
    await session.run("SELECT * FROM customers WHERE customer_id = 2 FOR UPDATE")
    await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
    assert await free(database, orders) == [True, False, False, False, True]
    await session.run("COMMIT")
    assert await free(database, orders) == [True] * 5


async def test_a_row_that_is_not_there_is_held_by_none(database: Database, session: Session) -> None:
    """The order is for the batch, which rejects it; what else it wants may be held."""
    await open_shop(database, {1: 5, 2: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
    orders = [
        an_order({UNKNOWN: 1}, customer_id=1),
        an_order({1: 1}, customer_id=UNKNOWN),
        an_order({1: 1, UNKNOWN: 1}, customer_id=UNKNOWN),
        an_order({2: 1, UNKNOWN: 1}, customer_id=UNKNOWN),
    ]
    assert await free(database, orders) == [True, True, True, False]


async def test_it_leaves_no_row_locked(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    await free(database, [an_order({1: 1})])
    await session.run("BEGIN")
    assert await session.run("SELECT * FROM customers FOR UPDATE NOWAIT")
    assert await session.run("SELECT * FROM stock FOR UPDATE NOWAIT")
    await session.run("COMMIT")
