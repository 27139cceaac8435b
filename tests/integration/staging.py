"""Orders that a test stages itself, and questions about what becomes of them."""

from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

from arq.connections import ArqRedis
from arq.constants import result_key_prefix

from jobs.intake import stage
from jobs.locks import lock_staged
from jobs.orders.requests import PlaceOrder
from jobs.sweep_intake import Swept, sweep_intake
from jobs.transaction import Transaction
from tests.asking import Session, until
from worker.database.transactions import Database, Isolation
from worker.queue import intake, wire

ENQUEUED = "UPDATE intake SET enqueued_at = UTC_TIMESTAMP(6)"
OVERDUE = "UPDATE intake SET enqueued_at = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR"


def insert(order: PlaceOrder, under: UUID | None = None, request: str | None = None) -> str:
    """What a service in any language writes."""
    text = order.model_dump_json(exclude_none=True) if request is None else request
    return (
        "INSERT INTO intake (order_id, request)"
        f" VALUES (UNHEX(REPLACE('{under or order.order_id}', '-', '')), '{text}')"
    )


async def take_over(transaction: Transaction) -> Swept:
    """What a sweep does in its transaction."""
    return await sweep_intake(transaction, take=partial(lock_staged, size=100), read=intake._read)


async def sweep(database: Database) -> Swept:
    """Of a worker that dies before it has enqueued anything."""
    return await database.transact(take_over, job="test", isolation=Isolation.READ_COMMITTED)


async def stage_all(session: Session, orders: Iterable[PlaceOrder], *, at_once: bool = False) -> None:
    """What a service in Python does."""
    await session.run(*stage(orders, at_once=at_once))


async def staged_count(session: Session) -> int:
    return int(await session.value("SELECT COUNT(*) FROM intake"))


async def until_none_is_staged(session: Session) -> None:
    async def none() -> bool:
        return not await staged_count(session)

    await until(none, "every staged order to end")


async def queued(redis: ArqRedis) -> set[str]:
    """The job ids in the queue."""
    return {job_id.decode() for job_id in await redis.zrange("arq:queue", 0, -1)}


async def until_queued(redis: ArqRedis, count: int) -> None:
    async def enough() -> bool:
        return len(await queued(redis)) == count

    await until(enough, f"{count} jobs in the queue")


async def result_of(redis: ArqRedis, order_id: UUID) -> dict[str, Any]:
    """The outcome under an order id, when it is there."""

    async def kept() -> bytes | None:
        data: bytes | None = await redis.get(f"{result_key_prefix}{order_id}")
        return data

    outcome: dict[str, Any] = wire.deserialize(await until(kept, f"a result of {order_id}"))["r"]
    return outcome
