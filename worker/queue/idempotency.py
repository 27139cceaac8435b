"""The same id always gets the same outcome, however often and wherever it is delivered.

The primary key in the database is the judge: a job claims its id with an INSERT, and a duplicate-key error sends
it to read what the first delivery came to. A commit whose answer was lost is found in the same way.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from uuid import UUID

from jobs.contract import Conflict
from jobs.intake import find_staged, stage_orders
from jobs.orders.known_orders import known_outcomes
from jobs.orders.order_status import Accepted, accepted_before
from jobs.orders.outcomes import PlaceOutcome, Restocked, UnknownProduct
from jobs.orders.place_orders import place_orders
from jobs.orders.requests import PlaceOrder, Restock
from jobs.orders.restock import known_restock, restock
from jobs.orders.storefront import Review
from jobs.orders.write_review import WriteReview, known_review, write_review
from worker.database.retry import DatabaseError, Kind
from worker.database.transactions import Database

Key = tuple[UUID, str]  # an order id, and the content under it


async def place_once(
    database: Database,
    orders: Sequence[PlaceOrder],
    *,
    job: str,
    attempts_seconds: float | None = None,
    traceparents: Mapping[UUID, str] = MappingProxyType({}),
) -> list[PlaceOutcome]:
    """One outcome an order, in the order of the arguments, which may hold an id more than once.

    Other content under an id of the arguments waits for the round after: what it comes to is for the database to say.
    """
    waiting = {_key(order): order for order in orders}
    outcomes: dict[Key, PlaceOutcome] = {}
    all_staged = await find_staged(database, {order.order_id for order in orders})
    while waiting:
        first: dict[UUID, PlaceOrder] = {}
        for order in waiting.values():
            first.setdefault(order.order_id, order)
        pending = list(first.values())
        staged = all_staged & first.keys()
        work = partial(place_orders, orders=pending, staged=staged, traceparents=traceparents)
        try:
            placed = await database.transact(work, job=job, attempts_seconds=attempts_seconds)
        except DatabaseError as error:
            if error.kind is not Kind.DUPLICATE:
                raise
            found = await known_outcomes(database, pending)
            if not found:
                raise
        else:
            found = {outcome.order_id: outcome for outcome in placed}
        outcomes |= {_key(order): found[order.order_id] for order in pending if order.order_id in found}
        waiting = {key: order for key, order in waiting.items() if key not in outcomes}
    return [outcomes[_key(order)] for order in orders]


def _key(order: PlaceOrder) -> Key:
    return order.order_id, order.fingerprint


async def stage_once(
    database: Database, orders: Mapping[UUID, PlaceOrder]
) -> tuple[dict[UUID, PlaceOutcome | Accepted], bool]:
    """Stage those orders that are new: `Accepted`. The others get what they came to, as `accepted_before` says it.

    And whether any was new.
    """
    while True:
        before = await accepted_before(database, orders)
        new = [order for order_id, order in orders.items() if order_id not in before]
        try:
            if new:
                await database.transact(partial(stage_orders, orders=new), job="stage_orders")
        except DatabaseError as error:
            if error.kind is not Kind.DUPLICATE:
                raise  # else somebody has staged one of them in this moment: look again
        else:
            staged = {order.order_id: Accepted(order_id=order.order_id) for order in new}
            return {**staged, **before}, bool(new)


async def restock_once(database: Database, request: Restock) -> Restocked | UnknownProduct | Conflict:
    """The outcome of a restock, the first time and every other."""
    try:
        return await database.transact(partial(restock, request=request), job="restock")
    except DatabaseError as error:
        if error.kind is not Kind.DUPLICATE:
            raise
        return await known_restock(database, request)


async def review_once(database: Database, review: WriteReview) -> Review | Conflict:
    """The review as it was written the first time."""
    try:
        await database.transact(partial(write_review, review=review), job="write_review")
    except DatabaseError as error:
        if error.kind is not Kind.DUPLICATE:
            raise
    return await known_review(database, review)
