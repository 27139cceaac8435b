import pytest

from jobs.orders.products import has_products, product_names
from tests.unit.jobs.recording import RecordingTransaction


async def test_products_that_are_there_are_named() -> None:
    reader = RecordingTransaction({"product_names": [{"product_id": 2, "name": "milk"}]})
    assert await product_names(reader, {2, 3}) == {2: "milk"}
    assert sorted(reader.sent("product_names")["product_ids"]) == [2, 3]


@pytest.mark.parametrize("found", [0, 1])
async def test_a_catalogue_has_been_loaded_where_there_is_a_product(found: int) -> None:
    assert await has_products(RecordingTransaction({"any_product": [{"found": found}]})) is bool(found)
