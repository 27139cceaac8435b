"""Every locking read. The one lock order: customers, then stock, then orders, then events, each by ascending id.

Staged orders come last, and nobody waits for them (SKIP LOCKED): a service that has staged one may hold it for as long
as it likes.

A job calls these in the order they stand here, and before anything else: a plain SELECT first would pin the
snapshot, and with innodb_snapshot_isolation every later lock on a changed row would be error 1020.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson

from jobs.orders import Customer, Stock
from jobs.outbox import RecordedEvent
from jobs.transaction import Row, Transaction, load_statements

_LOCKS = load_statements("locks.sql")


async def lock_customers(transaction: Transaction, customer_ids: Iterable[int]) -> dict[int, Customer]:
    """The customers that exist, by id."""
    wanted = sorted(set(customer_ids))
    (row,) = await transaction.fetch(_LOCKS["lock_customers"], {"customer_ids": wanted})
    customers = map(Customer._make, _locked(row))
    return {customer.customer_id: customer for customer in customers}


async def lock_stock(transaction: Transaction, product_ids: Iterable[int]) -> dict[int, Stock]:
    """The stock rows that exist, by product."""
    wanted = sorted(set(product_ids))
    (row,) = await transaction.fetch(_LOCKS["lock_stock"], {"product_ids": wanted})
    stock = map(Stock._make, _locked(row))
    return {row.product_id: row for row in stock}


async def free_customers(transaction: Transaction, customer_ids: Iterable[int]) -> set[int]:
    """Those whose rows are there and held by nobody else; they are locked now."""
    wanted = sorted(set(customer_ids))
    (row,) = await transaction.fetch(_LOCKS["free_customers"], {"customer_ids": wanted})
    return {customer_id for (customer_id,) in _locked(row)}


async def free_stock(transaction: Transaction, product_ids: Iterable[int]) -> set[int]:
    """The same of products."""
    wanted = sorted(set(product_ids))
    (row,) = await transaction.fetch(_LOCKS["free_stock"], {"product_ids": wanted})
    return {product_id for (product_id,) in _locked(row)}


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


async def lock_events(transaction: Transaction, event_ids: Iterable[int]) -> list[RecordedEvent]:
    """Those of these events that nobody else has in hand, by ascending id. For a transaction in READ COMMITTED.

    Under REPEATABLE READ it would lock gaps as well, and the orders' inserts would wait.
    """
    wanted = sorted(event_ids)
    (row,) = await transaction.fetch(_LOCKS["lock_events"], {"event_ids": wanted})
    return sorted(map(RecordedEvent._make, _locked(row)))


async def lock_staged(transaction: Transaction, size: int) -> Sequence[Row]:
    """Id and request of the oldest orders that wait to be enqueued."""
    return await transaction.fetch(_LOCKS["lock_staged"], {"size": size})


async def lock_overdue(transaction: Transaction, size: int, overdue_seconds: int) -> Sequence[Row]:
    """The same of orders that were enqueued longer ago than that."""
    limits = {"size": size, "overdue_seconds": overdue_seconds}
    return await transaction.fetch(_LOCKS["lock_overdue"], limits)


async def free_staged(transaction: Transaction, order_ids: Iterable[UUID]) -> set[UUID]:
    """Those of these orders that are staged and held by nobody else; they are locked now.

    Ask for none that was not staged before the transaction, or do so under READ COMMITTED: elsewhere to look for a
    missing row locks the gap where others stage.
    """
    wanted = sorted(order_id.hex for order_id in order_ids)
    (row,) = await transaction.fetch(_LOCKS["free_staged"], {"order_ids": wanted})
    return {UUID(order_id) for (order_id,) in _locked(row)}


async def free_requests(transaction: Transaction, order_ids: Iterable[UUID]) -> Sequence[Row]:
    """The same, with id and request of each."""
    wanted = sorted(order_id.hex for order_id in order_ids)
    return await transaction.fetch(_LOCKS["free_requests"], {"order_ids": wanted})


def _locked(row: Row) -> list[list[Any]]:
    """The rows of the array: all of them, since one that is missing would be an unknown customer or product."""
    rows: list[list[Any]] = orjson.loads(row["locked"] or "[]")
    if len(rows) != row["found"]:
        raise ValueError(
            f"the server has cut an array of {row['found']} rows; is its max_allowed_packet too small?"
        )
    return rows
