"""A small shop for tests: products, customers and orders."""

from collections.abc import Mapping
from functools import partial
from uuid import UUID, uuid4

from jobs.locks import lock_events
from jobs.orders.add_catalogue import NewCustomer, Product, add_customers, add_products
from jobs.orders.audit import audit
from jobs.orders.requests import Line, PlaceOrder
from jobs.outbox import next_events, remove_published
from jobs.transaction import Transaction
from worker.database.transactions import Database

PRICE_CENTS = 100


async def open_shop(
    database: Database, stock: Mapping[int, int], limits: Mapping[int, int | None] | None = None
) -> None:
    """Products at 100 cents with this much stock, and customers 1 to 9, without limits but for those given."""
    products = [
        Product(
            product_id=product_id, name=f"product {product_id}", price_cents=PRICE_CENTS, available=available
        )
        for product_id, available in stock.items()
    ]
    customers = [
        NewCustomer(
            customer_id=customer_id,
            name=f"customer {customer_id}",
            credit_limit_cents=(limits or {}).get(customer_id),
        )
        for customer_id in range(1, 10)
    ]
    await database.transact(partial(add_products, products=products), job="test")
    await database.transact(partial(add_customers, customers=customers), job="test")


def an_order(lines: Mapping[int, int], customer_id: int = 1, order_id: UUID | None = None) -> PlaceOrder:
    """An order of quantities by product."""
    return PlaceOrder(
        order_id=order_id or uuid4(),
        customer_id=customer_id,
        lines=tuple(Line(product_id=product_id, quantity=quantity) for product_id, quantity in lines.items()),
    )


async def broken_invariants(database: Database) -> dict[str, str | None]:
    """What the audit finds: nothing, if all is well."""
    findings = await database.transact(audit, job="audit")
    return {finding.invariant: finding.example for finding in findings if finding.violations}


async def empty_outbox(database: Database) -> None:
    """As if a relay had published everything."""

    async def remove(transaction: Transaction) -> None:
        await remove_published(transaction, await lock_events(transaction, ids))

    while ids := [event.event_id for event in await next_events(database, after=0, size=1000)]:
        await database.transact(remove, job="test")
