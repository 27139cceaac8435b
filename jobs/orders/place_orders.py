"""Place orders: one transaction for 1 to 500 of them."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any
from uuid import UUID

from jobs.intake import end_staged
from jobs.orders.decision import Stock, decide
from jobs.orders.locks import free_customers, free_stock, lock_customers, lock_stock
from jobs.orders.outcomes import Placed, Rejected
from jobs.orders.requests import PlaceOrder
from jobs.outbox import Event, record_events
from jobs.transaction import Transaction, load_statements

_ORDERS = load_statements("orders/orders.sql")
_STOCK = load_statements("orders/stock.sql")
_CUSTOMERS = load_statements("orders/customers.sql")

LineRow = tuple[int, int, int]  # product, quantity, unit price in cents


async def place_orders(
    transaction: Transaction,
    orders: Sequence[PlaceOrder],
    *,
    staged: Collection[UUID] = (),
    traceparents: Mapping[UUID, str] = MappingProxyType({}),
) -> list[Placed | Rejected]:
    """Decide and record orders that have different ids, in the order they came; `staged` are no longer staged then.

    `traceparents` go into the events of those orders that have one. May run again from its start. A duplicate-key error
    of the transaction means that one of the ids is known already: ask `known_outcomes`.
    """
    customers = await lock_customers(transaction, (order.customer_id for order in orders))
    stock = await lock_stock(transaction, chain.from_iterable(order.quantities for order in orders))
    outcomes = decide(orders, customers, stock)
    decided = list(zip(orders, outcomes, strict=True))
    placed = [(order, outcome) for order, outcome in decided if isinstance(outcome, Placed)]
    # By ascending id, like every lock: two batches that share ids then wait instead of deadlocking.
    rows = sorted(_order_row(order, outcome) for order, outcome in decided)
    await transaction.execute(_ORDERS["insert_orders"], {"orders": rows})
    lines = {order.order_id: _line_rows(order, stock) for order, _ in placed}
    if placed:
        sold = [(order_id.hex, rows) for order_id, rows in lines.items()]
        await transaction.execute(_ORDERS["insert_order_lines"], {"lines": sold})
        await transaction.execute(_STOCK["move_stock"], {"moves": _stock_moves(order for order, _ in placed)})
        await transaction.execute(_CUSTOMERS["move_balances"], {"moves": _balance_moves(placed)})
    events = (_event(order, outcome, lines, traceparents.get(order.order_id)) for order, outcome in decided)
    await record_events(transaction, events)
    if staged:
        await end_staged(transaction, staged)
    return outcomes


async def find_free(transaction: Transaction, orders: Sequence[PlaceOrder]) -> list[bool]:
    """Of each order, whether no other transaction holds one of its rows at this moment."""
    customer_ids = sorted({order.customer_id for order in orders})
    product_ids = sorted(set(chain.from_iterable(order.quantities for order in orders)))
    free_ids = await free_customers(transaction, customer_ids)
    free_products = await free_stock(transaction, product_ids)
    # A row that is not there is held by nobody.
    rows = await transaction.fetch(_CUSTOMERS["existing_customers"], {"customer_ids": customer_ids})
    held_ids = {row["customer_id"] for row in rows} - free_ids
    rows = await transaction.fetch(_STOCK["existing_stock"], {"product_ids": product_ids})
    held_products = {row["product_id"] for row in rows} - free_products
    return [
        order.customer_id not in held_ids and held_products.isdisjoint(order.quantities) for order in orders
    ]


def _order_row(order: PlaceOrder, outcome: Placed | Rejected) -> tuple[Any, ...]:
    rejected = outcome if isinstance(outcome, Rejected) else None
    return (
        order.order_id.hex,
        order.customer_id,
        outcome.status,
        rejected and rejected.reason,
        rejected and rejected.product_id,
        outcome.total_cents if isinstance(outcome, Placed) else 0,
        order.fingerprint,
        order.placed_at and str(order.placed_at.replace(tzinfo=None)),
    )


def _line_rows(order: PlaceOrder, stock: Mapping[int, Stock]) -> list[LineRow]:
    return [
        (product_id, quantity, stock[product_id].price_cents)
        for product_id, quantity in order.quantities.items()
    ]


def _stock_moves(placed: Iterable[PlaceOrder]) -> list[tuple[int, int]]:
    taken: Counter[int] = Counter()
    for order in placed:
        taken.update(order.quantities)
    return [(product_id, -taken[product_id]) for product_id in sorted(taken)]


def _balance_moves(placed: Iterable[tuple[PlaceOrder, Placed]]) -> list[tuple[int, int]]:
    owed: Counter[int] = Counter()
    for order, outcome in placed:
        owed[order.customer_id] += outcome.total_cents
    return sorted(owed.items())


def _event(
    order: PlaceOrder,
    outcome: Placed | Rejected,
    lines: Mapping[UUID, list[LineRow]],
    traceparent: str | None,
) -> Event:
    body = outcome.model_dump(mode="json") | {"customer_id": order.customer_id}
    if isinstance(outcome, Placed):
        body["lines"] = lines[order.order_id]
    return Event(order.order_id, f"order.{outcome.status}", body, traceparent)
