"""Take over orders that were staged: the caller enqueues them, unless they have an outcome already."""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from jobs.dead_letters import DeadLetter, record_dead_letters
from jobs.intake import delete_staged
from jobs.known_orders import known_outcomes
from jobs.locks import lock_overdue, lock_staged
from jobs.orders import Invalid, PlaceOrder, PlaceOutcome
from jobs.transaction import Reader, Transaction, load_statements

_INTAKE = load_statements("intake.sql")

ReadRequest = Callable[[UUID, str], PlaceOrder | DeadLetter]  # why that is no order of this id


class Work(NamedTuple):
    """What there is to do."""

    staged: int
    overdue: int


class Swept(NamedTuple):
    """What was staged: orders to be enqueued now, the oldest first, and outcomes of those that need no job."""

    orders: list[PlaceOrder]
    ended: dict[UUID, PlaceOutcome | Invalid]


async def find_work(reader: Reader, overdue_seconds: int) -> Work:
    """Whether a sweep would find orders, new ones or overdue."""
    (row,) = await reader.fetch(_INTAKE["work_for_a_sweep"], {"overdue_seconds": overdue_seconds})
    return Work(**row)


async def sweep_intake(
    transaction: Transaction, *, read: ReadRequest, size: int, overdue_seconds: int | None = None
) -> Swept:
    """Mark up to `size` staged orders as enqueued, new ones or those that are overdue.

    Run it under READ COMMITTED, so that it locks no gap where others stage, and enqueue after its commit: then nobody
    waits for rows while Redis is asked. Orders whose worker dies in between are overdue one day. May run again.
    """
    if overdue_seconds is None:
        rows = await lock_staged(transaction, size)
    else:
        rows = await lock_overdue(transaction, size, overdue_seconds)
    if not rows:
        return Swept([], {})
    requests = {
        order_id: read(order_id, row["request"]) for row in rows for order_id in [UUID(row["order_id"])]
    }
    orders = [order for order in requests.values() if isinstance(order, PlaceOrder)]
    dead = {order_id: letter for order_id, letter in requests.items() if isinstance(letter, DeadLetter)}
    await record_dead_letters(transaction, dead.values())
    ended: dict[UUID, PlaceOutcome | Invalid] = {
        **{order_id: Invalid(error=letter.error) for order_id, letter in dead.items()},
        **await known_outcomes(transaction, orders),
    }
    waiting = [order for order in orders if order.order_id not in ended]
    await delete_staged(transaction, ended)
    if waiting:
        ids = [order.order_id.hex for order in waiting]
        await transaction.execute(_INTAKE["mark_enqueued"], {"order_ids": ids})
    return Swept(waiting, ended)
