"""The decision about orders: pure, so that it can be tested without a server."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jobs.orders.outcomes import Placed, Reason, Rejected
from jobs.orders.requests import PlaceOrder


class Customer(NamedTuple):
    """A locked row of `customers`."""

    customer_id: int
    credit_limit_cents: int | None
    balance_cents: int


class Stock(NamedTuple):
    """A locked row of `stock`."""

    product_id: int
    price_cents: int
    available: int


def decide(
    orders: Iterable[PlaceOrder], customers: Mapping[int, Customer], stock: Mapping[int, Stock]
) -> list[Placed | Rejected]:
    """Decide orders in the order they came, each on what those before it left over."""
    available = {row.product_id: row.available for row in stock.values()}
    balances = {row.customer_id: row.balance_cents for row in customers.values()}
    decided: list[Placed | Rejected] = []
    for order in orders:
        outcome = _decide_one(order, customers, stock, available, balances)
        if isinstance(outcome, Placed):
            balances[order.customer_id] += outcome.total_cents
            for product_id, quantity in order.quantities.items():
                available[product_id] -= quantity
        decided.append(outcome)
    return decided


def _decide_one(
    order: PlaceOrder,
    customers: Mapping[int, Customer],
    stock: Mapping[int, Stock],
    available: Mapping[int, int],
    balances: Mapping[int, int],
) -> Placed | Rejected:
    def rejected(reason: Reason, product_id: int | None = None) -> Rejected:
        return Rejected(order_id=order.order_id, reason=reason, product_id=product_id)

    customer = customers.get(order.customer_id)
    if customer is None:
        return rejected("unknown_customer")
    for product_id in order.quantities:
        if product_id not in stock:
            return rejected("unknown_product", product_id)
    for product_id, quantity in order.quantities.items():
        if quantity > available[product_id]:
            return rejected("insufficient_stock", product_id)
    total_cents = sum(stock[product_id].price_cents * n for product_id, n in order.quantities.items())
    limit = customer.credit_limit_cents
    if limit is not None and balances[order.customer_id] + total_cents > limit:
        return rejected("credit_limit")
    return Placed(order_id=order.order_id, total_cents=total_cents)
