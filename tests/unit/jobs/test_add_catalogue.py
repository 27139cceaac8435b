import pytest
from pydantic import ValidationError

from jobs.orders.add_catalogue import NewCustomer, Product, add_customers, add_products
from tests.unit.jobs.recording import RecordingTransaction


def product(product_id: int) -> Product:
    return Product(product_id=product_id, name="tea", price_cents=5, available=7)


async def test_products_are_added_by_ascending_id_with_their_stock_and_its_restock() -> None:
    transaction = RecordingTransaction(changed=2)
    assert await add_products(transaction, [product(3), product(1), product(2)]) == 2
    assert transaction.statements == ["add_stock", "add_first_restocks", "add_products"]
    for statement in transaction.statements:
        rows = transaction.sent(statement)["products"]
        assert [row["product_id"] for row in rows] == [1, 2, 3]
        assert {(row["name"], row["price_cents"], row["available"]) for row in rows} == {("tea", 5, 7)}


async def test_the_first_restock_of_a_product_always_has_the_same_id() -> None:
    once, again = RecordingTransaction(), RecordingTransaction()
    await add_products(once, [product(1), product(2)])
    await add_products(again, [product(2)])
    one, two = (row["restock_id"] for row in once.sent("add_first_restocks")["products"])
    assert one != two
    assert [row["restock_id"] for row in again.sent("add_first_restocks")["products"]] == [two]


async def test_customers_are_added_by_ascending_id() -> None:
    transaction = RecordingTransaction(changed=1)
    limited = NewCustomer(customer_id=2, name="Bob", credit_limit_cents=0)
    assert await add_customers(transaction, [limited, NewCustomer(customer_id=1, name="Alice")]) == 1
    assert transaction.sent("add_customers")["customers"] == [
        {"customer_id": 1, "name": "Alice", "credit_limit_cents": None},
        {"customer_id": 2, "name": "Bob", "credit_limit_cents": 0},
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("product_id", 0),
        ("name", ""),
        ("name", "x" * 256),
        ("price_cents", -1),
        ("price_cents", 1_000_000_001),
        ("price_cents", 1.0),
        ("available", -1),
        ("available", 1_000_000_001),
    ],
)
def test_a_product_that_no_column_holds_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Product.model_validate({**product(1).model_dump(), field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("customer_id", 2**63), ("name", ""), ("credit_limit_cents", -1)]
)
def test_a_customer_that_no_column_holds_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        NewCustomer.model_validate({"customer_id": 1, "name": "Alice", field: value})
