from uuid import UUID

import pytest

from jobs.contract import Conflict
from jobs.orders.outcomes import Restocked, UnknownProduct
from jobs.orders.requests import Restock
from jobs.orders.restock import known_restock, restock
from tests.unit.jobs.recording import RecordingTransaction

RESTOCK_ID = UUID(int=1)
REQUEST = Restock(restock_id=RESTOCK_ID, product_id=3, quantity=20)
RESTOCKED = Restocked(restock_id=RESTOCK_ID, product_id=3, quantity=20)


async def test_stock_is_locked_then_the_restock_recorded_then_the_stock_moved() -> None:
    stock = {"product_id": 3, "price_cents": 5, "available": 0}
    transaction = RecordingTransaction({"lock_stock": [stock]})
    assert await restock(transaction, REQUEST) == RESTOCKED
    assert transaction.statements == ["lock_stock", "insert_restock", "move_stock"]
    assert transaction.sent("lock_stock") == {"product_ids": [3]}
    assert transaction.sent("insert_restock") == {
        "restock_id": RESTOCK_ID.hex,
        "product_id": 3,
        "quantity": 20,
    }
    assert transaction.sent("move_stock") == {"moves": [{"product_id": 3, "quantity": 20}]}


async def test_a_product_without_stock_row_is_unknown_and_nothing_is_written() -> None:
    transaction = RecordingTransaction({"lock_stock": []})
    assert await restock(transaction, REQUEST) == UnknownProduct(restock_id=RESTOCK_ID, product_id=3)
    assert transaction.statements == ["lock_stock"]


async def test_a_known_restock_has_the_same_outcome_again() -> None:
    reader = RecordingTransaction({"known_restock": [{"product_id": 3, "quantity": 20}]})
    assert await known_restock(reader, REQUEST) == RESTOCKED
    assert reader.sent("known_restock") == {"restock_id": RESTOCK_ID.hex}


@pytest.mark.parametrize("row", [{"product_id": 3, "quantity": 21}, {"product_id": 4, "quantity": 20}])
async def test_a_known_restock_with_other_content_is_a_conflict(row: dict[str, int]) -> None:
    reader = RecordingTransaction({"known_restock": [row]})
    assert await known_restock(reader, REQUEST) == Conflict(id=RESTOCK_ID)
