"""Orders that nobody can place, and letters that a test writes itself."""

from typing import Any, Final, cast

from arq.connections import ArqRedis

from jobs.dead_letters import DeadLetter
from jobs.orders.requests import PlaceOrder
from tests.asking import Session
from worker.queue import wire
from worker.queue.dead_letters import SUFFIX, dead_letter

POISONED: Final = 9  # the customer


async def poison(session: Session) -> None:
    """No balance can hold what this customer would owe: error 1690."""
    await session.run(
        f"UPDATE customers SET balance_cents = 18446744073709551615 WHERE customer_id = {POISONED}"
    )


async def mend(session: Session) -> None:
    await session.run(f"UPDATE customers SET balance_cents = 0 WHERE customer_id = {POISONED}")


def a_letter(order: PlaceOrder, **changes: Any) -> DeadLetter:
    request = order.model_dump(mode="json", exclude_none=True)
    return dead_letter(str(order.order_id), wire.PLACE_ORDER, request, ValueError("a bug")).model_copy(
        update=changes
    )


async def waiting(redis: ArqRedis) -> int:
    """How many letters are in Redis."""
    return int(
        await cast("Any", redis).hlen(redis.default_queue_name + SUFFIX)
    )  # redis-py's type is of both its clients
