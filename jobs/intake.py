"""Orders that somebody has staged in `intake`, in a transaction of their own: docs/intake.md has the contract."""

from collections.abc import Collection, Iterable
from uuid import UUID

import orjson
from pydantic import ValidationError

from jobs.locks import free_requests, free_staged
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Reader, Transaction, load_statements

_INTAKE = load_statements("intake.sql")


def stage(orders: Iterable[PlaceOrder], *, at_once: bool = False) -> tuple[str, dict[str, str]]:
    """An INSERT and its parameters, for any driver that reads `%(name)s`: `cursor.execute(*stage([order]))`.

    Run it in the transaction that the orders belong to. `at_once`: you enqueue them right after the commit; a worker
    does so only where they have no outcome after a while. It needs the right to insert `enqueued_at`, too.
    """
    rows = sorted((order.order_id.hex, order.model_dump_json(exclude_none=True)) for order in orders)
    statement = _INTAKE["stage_orders_at_once"] if at_once else _INTAKE["stage_orders"]
    return statement.text, {"orders": orjson.dumps(rows).decode()}


async def stage_orders(transaction: Transaction, orders: Iterable[PlaceOrder]) -> None:
    """Stage orders that the caller enqueues after the commit.

    A duplicate-key error of the transaction means that one of them is staged already.
    """
    _, parameters = stage(orders, at_once=True)
    await transaction.execute(_INTAKE["stage_orders_at_once"], parameters)


async def find_staged(reader: Reader, order_ids: Iterable[UUID]) -> set[UUID]:
    """Those of these orders that are staged."""
    wanted = sorted(order_id.hex for order_id in order_ids)
    (row,) = await reader.fetch(_INTAKE["staged_orders"], {"order_ids": wanted})
    return set(map(UUID, orjson.loads(row["order_ids"] or "[]")))


async def end_staged(transaction: Transaction, order_ids: Iterable[UUID]) -> None:
    """Remove orders that are known to be staged, as the last thing in the transaction of their outcomes.

    One that somebody holds stays: a sweep finds it with its outcome.
    """
    await delete_staged(transaction, await free_staged(transaction, order_ids))


async def end_kept(transaction: Transaction, orders: Collection[PlaceOrder]) -> None:
    """Remove those of these orders that are staged with this very content: it is kept elsewhere.

    Under READ COMMITTED, so that to look for what is not staged locks no gap.
    """
    rows = await free_requests(transaction, {order.order_id for order in orders})
    await delete_staged(
        transaction, {UUID(row["order_id"]) for row in rows if _is_one_of(orders, row["request"])}
    )


async def delete_staged(transaction: Transaction, order_ids: Iterable[UUID]) -> None:
    """Remove rows that this transaction has locked."""
    if wanted := sorted(order_id.hex for order_id in order_ids):
        await transaction.execute(_INTAKE["delete_staged"], {"order_ids": wanted})


def _is_one_of(orders: Collection[PlaceOrder], request: str) -> bool:
    try:
        return PlaceOrder.model_validate_json(request) in orders
    except ValidationError:
        return False
