"""Take over orders that were staged: the caller enqueues them, unless they have an outcome already."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from jobs.contract import Dead, Invalid
from jobs.dead_letters import DeadLetter, record_dead_letters
from jobs.intake import delete_staged
from jobs.orders.known_orders import known_outcomes
from jobs.orders.outcomes import PlaceOutcome
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Reader, Row, Transaction, load_statements

_INTAKE = load_statements("intake.sql")


class Unfit(NamedTuple):
    """A staged request that is not to be enqueued: the letter that keeps it, and what whoever waits is told."""

    letter: DeadLetter
    outcome: Invalid | Dead


Take = Callable[[Transaction], Awaitable[Sequence[Row]]]  # locks rows: their ids and requests
ReadRequest = Callable[[UUID, str], PlaceOrder | Unfit]


class Work(NamedTuple):
    """What there is to do."""

    lag_microseconds: int | None  # of the oldest order that waits; None: none does
    overdue: int

    @property
    def staged(self) -> bool:
        """Whether orders wait."""
        return self.lag_microseconds is not None


class Swept(NamedTuple):
    """What was staged: orders to be enqueued now, the oldest first, and outcomes of those that need no job."""

    orders: list[PlaceOrder]
    ended: dict[UUID, PlaceOutcome | Invalid | Dead]


async def find_work(reader: Reader, overdue_seconds: int) -> Work:
    """Whether a sweep would find orders, new ones or overdue."""
    (row,) = await reader.fetch(_INTAKE["work_for_a_sweep"], {"overdue_seconds": overdue_seconds})
    return Work(**row)


async def sweep_intake(transaction: Transaction, *, take: Take, read: ReadRequest) -> Swept:
    """Mark staged orders as enqueued: those that `take` locks.

    Run it under READ COMMITTED, so that it locks no gap where others stage, and enqueue after its commit: then nobody
    waits for rows while Redis is asked. Orders whose worker dies in between are overdue one day. May run again.
    """
    rows = await take(transaction)
    if not rows:
        return Swept([], {})
    requests = {
        order_id: read(order_id, row["request"]) for row in rows for order_id in [UUID(row["order_id"])]
    }
    orders = [order for order in requests.values() if isinstance(order, PlaceOrder)]
    unfit = {order_id: request for order_id, request in requests.items() if isinstance(request, Unfit)}
    await record_dead_letters(transaction, [letter for letter, _ in unfit.values()])
    ended: dict[UUID, PlaceOutcome | Invalid | Dead] = {
        **{order_id: outcome for order_id, (_, outcome) in unfit.items()},
        **await known_outcomes(transaction, orders),
    }
    waiting = [order for order in orders if order.order_id not in ended]
    await delete_staged(transaction, ended)
    if waiting:
        ids = [order.order_id.hex for order in waiting]
        await transaction.execute(_INTAKE["mark_enqueued"], {"order_ids": ids})
    return Swept(waiting, ended)
