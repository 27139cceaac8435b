"""Every locking read of the shop. The one lock order: customers, then stock, then orders, each by ascending id.

A job calls these in the order they stand here, and before anything else: a plain SELECT first would pin the
snapshot, and with innodb_snapshot_isolation every later lock on a changed row would be error 1020.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from jobs.locks import locked_rows
from jobs.orders.decision import Customer, Stock
from jobs.transaction import Row, Transaction, load_statements

_LOCKS = load_statements("orders/locks.sql")


async def lock_customers(transaction: Transaction, customer_ids: Iterable[int]) -> dict[int, Customer]:
    """The customers that exist, by id."""
    wanted = sorted(set(customer_ids))
    (row,) = await transaction.fetch(_LOCKS["lock_customers"], {"customer_ids": wanted})
    customers = map(Customer._make, locked_rows(row))
    return {customer.customer_id: customer for customer in customers}


async def lock_stock(transaction: Transaction, product_ids: Iterable[int]) -> dict[int, Stock]:
    """The stock rows that exist, by product."""
    wanted = sorted(set(product_ids))
    (row,) = await transaction.fetch(_LOCKS["lock_stock"], {"product_ids": wanted})
    stock = map(Stock._make, locked_rows(row))
    return {row.product_id: row for row in stock}


async def free_customers(transaction: Transaction, customer_ids: Iterable[int]) -> set[int]:
    """Those whose rows are there and held by nobody else; they are locked now."""
    wanted = sorted(set(customer_ids))
    (row,) = await transaction.fetch(_LOCKS["free_customers"], {"customer_ids": wanted})
    return {customer_id for (customer_id,) in locked_rows(row)}


async def free_stock(transaction: Transaction, product_ids: Iterable[int]) -> set[int]:
    """The same of products."""
    wanted = sorted(set(product_ids))
    (row,) = await transaction.fetch(_LOCKS["free_stock"], {"product_ids": wanted})
    return {product_id for (product_id,) in locked_rows(row)}


async def lock_order(transaction: Transaction, order_id: UUID) -> str | None:
    """The status of an order that was there before the transaction; None if it has been purged since.

    Ask for no other: to lock a missing row locks the gap.
    """
    rows = await transaction.fetch(_LOCKS["lock_order"], {"order_id": order_id.hex})
    return str(rows[0]["status"]) if rows else None


async def lock_orders(transaction: Transaction, order_ids: Iterable[UUID]) -> Sequence[Row]:
    """Id, customer, status and total of those that are still there, for the purge."""
    wanted = sorted(order_id.hex for order_id in order_ids)
    return await transaction.fetch(_LOCKS["lock_orders"], {"order_ids": wanted})
