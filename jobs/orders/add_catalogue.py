"""Add products with their first stock, and customers. What is there already is left as it is."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID, uuid5

from pydantic import Field

from jobs.contract import MAX_ID, Id, Request
from jobs.orders.requests import MAX_RESTOCK
from jobs.transaction import Transaction, load_statements

_STOCK = load_statements("orders/stock.sql")
_ADD_CUSTOMERS = load_statements("orders/customers.sql")["add_customers"]
_FIRST_RESTOCK: Final = UUID(
    "6b1e77a6-0f5c-5d0c-9a54-5f3f0d1f6a10"
)  # namespace; the name is the product's id

Name = Annotated[str, Field(min_length=1, max_length=255)]


class Product(Request):
    """A product, its price and its first stock."""

    product_id: Id
    name: Name
    price_cents: Annotated[int, Field(strict=True, ge=0, le=MAX_RESTOCK)]
    available: Annotated[int, Field(strict=True, ge=0, le=MAX_RESTOCK)]


class NewCustomer(Request):
    """A customer; no limit where `credit_limit_cents` is absent."""

    customer_id: Id
    name: Name
    credit_limit_cents: Annotated[int, Field(strict=True, ge=0, le=MAX_ID)] | None = None


async def add_products(transaction: Transaction, products: Sequence[Product]) -> int:
    """How many of the products were new. May run again."""
    rows = [
        {**product.model_dump(), "restock_id": uuid5(_FIRST_RESTOCK, str(product.product_id)).hex}
        for product in sorted(products, key=lambda product: product.product_id)
    ]
    await transaction.execute(_STOCK["add_stock"], {"products": rows})
    await transaction.execute(_STOCK["add_first_restocks"], {"products": rows})
    return await transaction.execute(_STOCK["add_products"], {"products": rows})


async def add_customers(transaction: Transaction, customers: Sequence[NewCustomer]) -> int:
    """How many of the customers were new. May run again."""
    rows = [
        customer.model_dump() for customer in sorted(customers, key=lambda customer: customer.customer_id)
    ]
    return await transaction.execute(_ADD_CUSTOMERS, {"customers": rows})
