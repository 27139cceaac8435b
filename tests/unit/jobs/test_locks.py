from collections.abc import Sequence
from uuid import UUID

import pytest

from jobs.orders.decision import Customer, Stock
from jobs.orders.locks import lock_customers, lock_order, lock_stock
from jobs.transaction import Parameters, Row, Statement
from tests.unit.jobs.recording import RecordingTransaction


async def test_customers_are_locked_by_ascending_id_once_each() -> None:
    row = {"customer_id": 2, "credit_limit_cents": None, "balance_cents": 7}
    transaction = RecordingTransaction({"lock_customers": [row]})
    assert await lock_customers(transaction, iter([10, 2, 10, 9])) == {2: Customer(2, None, 7)}
    assert transaction.sent("lock_customers") == {"customer_ids": [2, 9, 10]}


async def test_stock_is_locked_by_ascending_product_once_each() -> None:
    row = {"product_id": 2, "price_cents": 5, "available": 7}
    transaction = RecordingTransaction({"lock_stock": [row]})
    assert await lock_stock(transaction, iter([10, 2, 10, 9])) == {2: Stock(2, 5, 7)}
    assert transaction.sent("lock_stock") == {"product_ids": [2, 9, 10]}


async def test_an_order_is_locked_by_its_id() -> None:
    transaction = RecordingTransaction({"lock_order": [{"status": "placed"}]})
    assert await lock_order(transaction, UUID(int=255)) == "placed"
    assert transaction.sent("lock_order") == {"order_id": "000000000000000000000000000000ff"}


class Cutting:
    """A server whose answers may be no longer than two rows."""

    async def execute(self, statement: Statement, parameters: Parameters) -> int:
        raise NotImplementedError

    async def fetch(self, _statement: Statement, _parameters: Parameters) -> Sequence[Row]:
        return [{"found": 3, "locked": "[[1, 100, 5], [2, 100, 5]]"}]


async def test_rows_that_the_server_has_cut_off_are_no_unknown_products() -> None:
    with pytest.raises(ValueError, match="cut an array of 3 rows; is its max_allowed_packet too small"):
        await lock_stock(Cutting(), [1, 2, 3])
