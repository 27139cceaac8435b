"""Locking reads of the machinery's own tables: events, then staged orders, after all that a job locks.

Nobody waits for staged orders (SKIP LOCKED): a service that has staged one may hold it for as long as it likes.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson

from jobs.outbox import RecordedEvent
from jobs.transaction import Row, Transaction, load_statements

_LOCKS = load_statements("locks.sql")


async def lock_events(transaction: Transaction, event_ids: Iterable[int]) -> list[RecordedEvent]:
    """Those of these events that nobody else has in hand, by ascending id. For a transaction in READ COMMITTED.

    Under REPEATABLE READ it would lock gaps as well, and the orders' inserts would wait.
    """
    wanted = sorted(event_ids)
    (row,) = await transaction.fetch(_LOCKS["lock_events"], {"event_ids": wanted})
    return sorted(map(RecordedEvent._make, locked_rows(row)))


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
    return {UUID(order_id) for (order_id,) in locked_rows(row)}


async def free_requests(transaction: Transaction, order_ids: Iterable[UUID]) -> Sequence[Row]:
    """The same, with id and request of each."""
    wanted = sorted(order_id.hex for order_id in order_ids)
    return await transaction.fetch(_LOCKS["free_requests"], {"order_ids": wanted})


def locked_rows(row: Row) -> list[list[Any]]:
    """The rows of the array: all of them, since one that is missing would be an unknown customer or product."""
    rows: list[list[Any]] = orjson.loads(row["locked"] or "[]")
    if len(rows) != row["found"]:
        raise ValueError(
            f"the server has cut an array of {row['found']} rows; is its max_allowed_packet too small?"
        )
    return rows
