"""Accept orders for good, enqueue them at once, and wait for their outcomes where somebody does."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from aiohttp import web

from jobs.contract import Conflict, Dead, Invalid
from jobs.orders.order_status import Accepted
from jobs.orders.outcomes import AnyOutcome, PlaceOutcome
from jobs.orders.requests import PlaceOrder
from worker.client import OrderClient, Receipt
from worker.errors import LockstepError
from worker.queue import wire
from worker.queue.idempotency import stage_once
from worker.web.servers import BUSY, CLIENT, DATABASE

logger = structlog.get_logger()

QUEUE_SECONDS: Final = 5.0  # for Redis to take orders that are staged by then
NOT_NOW: Final = (TimeoutError, LockstepError, *wire.QUEUE_ERRORS)


class Answers(NamedTuple):
    """One per order; `retry_seconds`: 0, or nothing was waited for, and it is worth coming again after so long."""

    results: list[PlaceOutcome | Accepted]
    retry_seconds: int


async def accept(application: web.Application, orders: Sequence[PlaceOrder], waits_until: float) -> Answers:
    """What each order has come to by then; `Accepted`: it is staged, and a worker places it later.

    `waits_until` is by the clock of the event loop. While the workers are behind, a request that stages an order does not wait. A repeat adds no work, so it does.

    Redis may be away. Raises DatabaseError, and then none is accepted, unless only the answer to the commit was lost:
    to send them again is safe.
    """
    first = {order.order_id: order for order in reversed(orders)}
    results, adds_work = await stage_once(application[DATABASE], first)
    retry_seconds = await application[BUSY].retry_seconds("place") if adds_work else 0
    waiting = [first[order_id] for order_id, result in results.items() if isinstance(result, Accepted)]
    results |= await _outcomes(application[CLIENT], waiting, 0.0 if retry_seconds else waits_until)
    answers = [
        results[order.order_id]
        if order.fingerprint == first[order.order_id].fingerprint
        else Conflict(id=order.order_id)
        for order in orders
    ]
    return Answers(answers, retry_seconds)


async def _outcomes(
    client: OrderClient, orders: Sequence[PlaceOrder], waits_until: float
) -> dict[UUID, PlaceOutcome]:
    try:
        async with asyncio.timeout(QUEUE_SECONDS):
            receipts = await asyncio.gather(*map(client.place, orders))
    except NOT_NOW as error:
        logger.warning("orders are only staged", orders=len(orders), error=f"{type(error).__name__}: {error}")
        return {}
    outcomes = await asyncio.gather(*(outcome_of(receipt, waits_until) for receipt in receipts))
    return {
        order.order_id: outcome
        for order, outcome in zip(orders, outcomes, strict=True)
        if isinstance(outcome, PlaceOutcome)
    }


async def outcome_of(receipt: Receipt, waits_until: float) -> AnyOutcome | None:
    """The outcome; None where it is not there in time, or nobody can run the job for now."""
    wait_seconds = waits_until - asyncio.get_running_loop().time()
    if wait_seconds <= 0:
        return None
    try:
        outcome = await receipt.outcome(wait_seconds)
    except NOT_NOW:
        return None
    return None if isinstance(outcome, Dead | Invalid) else outcome
