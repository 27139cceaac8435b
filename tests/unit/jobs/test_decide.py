from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.orders.decision import Customer, Stock, decide
from jobs.orders.outcomes import Placed, Rejected
from jobs.orders.requests import Line, PlaceOrder

KNOWN_CUSTOMERS = (1, 2)
KNOWN_PRODUCTS = (1, 2, 3)
UNKNOWN = 9


@dataclass(frozen=True)
class Case:
    orders: list[PlaceOrder]
    customers: dict[int, Customer]
    stock: dict[int, Stock]

    def decide(self) -> list[Placed | Rejected]:
        return decide(self.orders, self.customers, self.stock)

    def placed(self) -> list[tuple[PlaceOrder, Placed]]:
        decided = zip(self.orders, self.decide(), strict=True)
        return [(order, outcome) for order, outcome in decided if isinstance(outcome, Placed)]


def wanted(order: PlaceOrder) -> Counter[int]:
    counts: Counter[int] = Counter()
    for line in order.lines:
        counts[line.product_id] += line.quantity
    return counts


def cost(order: PlaceOrder, stock: Mapping[int, Stock]) -> int:
    return sum(line.quantity * stock[line.product_id].price_cents for line in order.lines)


def customers() -> st.SearchStrategy[dict[int, Customer]]:
    def customer(customer_id: int, limit: int | None, balance: int) -> Customer:
        return Customer(customer_id, limit, balance if limit is None else min(balance, limit))

    return st.fixed_dictionaries(
        {
            customer_id: st.builds(
                customer, st.just(customer_id), st.none() | st.integers(0, 1_000), st.integers(0, 300)
            )
            for customer_id in KNOWN_CUSTOMERS
        }
    )


def stocks() -> st.SearchStrategy[dict[int, Stock]]:
    return st.fixed_dictionaries(
        {
            product_id: st.builds(Stock, st.just(product_id), st.integers(0, 60), st.integers(0, 60))
            for product_id in KNOWN_PRODUCTS
        }
    )


def orders() -> st.SearchStrategy[list[PlaceOrder]]:
    line = st.builds(
        Line, product_id=st.sampled_from([*KNOWN_PRODUCTS * 3, UNKNOWN]), quantity=st.integers(1, 15)
    )
    order = st.builds(
        PlaceOrder,
        order_id=st.uuids(),
        customer_id=st.sampled_from([*KNOWN_CUSTOMERS * 3, UNKNOWN]),
        lines=st.lists(line, min_size=1, max_size=3).map(tuple),
        placed_at=st.none(),
    )
    return st.lists(order, max_size=12, unique_by=lambda order: order.order_id)


def cases() -> st.SearchStrategy[Case]:
    return st.builds(Case, orders=orders(), customers=customers(), stock=stocks())


@given(cases())
def test_outcomes_come_in_the_order_of_the_orders(case: Case) -> None:
    assert [outcome.order_id for outcome in case.decide()] == [order.order_id for order in case.orders]


@given(cases())
def test_no_product_is_ever_oversold(case: Case) -> None:
    taken: Counter[int] = Counter()
    for order, _ in case.placed():
        taken += wanted(order)
    assert all(taken[product_id] <= case.stock[product_id].available for product_id in taken)


@given(cases())
def test_no_credit_limit_is_ever_passed(case: Case) -> None:
    owed: Counter[int] = Counter()
    for order, _ in case.placed():
        owed[order.customer_id] += cost(order, case.stock)
    for customer in case.customers.values():
        limit = customer.credit_limit_cents
        assert limit is None or customer.balance_cents + owed[customer.customer_id] <= limit


@given(cases())
def test_a_total_is_the_sum_of_price_times_quantity(case: Case) -> None:
    for order, outcome in case.placed():
        assert outcome.total_cents == cost(order, case.stock)


@given(cases())
def test_a_rejected_order_changes_nothing_for_those_after_it(case: Case) -> None:
    placed = case.placed()
    without_rejected = replace(case, orders=[order for order, _ in placed])
    assert without_rejected.decide() == [outcome for _, outcome in placed]


@given(cases())
def test_a_batch_is_decided_like_its_orders_one_by_one(case: Case) -> None:
    left_customers, left_stock = dict(case.customers), dict(case.stock)
    one_by_one = []
    for order in case.orders:
        (outcome,) = decide([order], left_customers, left_stock)
        one_by_one.append(outcome)
        if isinstance(outcome, Placed):
            customer = left_customers[order.customer_id]
            balance_cents = customer.balance_cents + outcome.total_cents
            left_customers[order.customer_id] = customer._replace(balance_cents=balance_cents)
            for product_id, quantity in wanted(order).items():
                row = left_stock[product_id]
                left_stock[product_id] = row._replace(available=row.available - quantity)
    assert case.decide() == one_by_one


@given(cases())
def test_an_order_is_placed_unless_its_reason_is_true(case: Case) -> None:
    for order in case.orders:
        (outcome,) = decide([order], case.customers, case.stock)
        assert (outcome.reason if isinstance(outcome, Rejected) else None) == true_reason(order, case)


def true_reason(order: PlaceOrder, case: Case) -> str | None:
    customer, products = case.customers.get(order.customer_id), wanted(order)
    if customer is None:
        return "unknown_customer"
    if not products.keys() <= case.stock.keys():
        return "unknown_product"
    if any(case.stock[product_id].available < quantity for product_id, quantity in products.items()):
        return "insufficient_stock"
    limit = customer.credit_limit_cents
    if limit is not None and limit < customer.balance_cents + cost(order, case.stock):
        return "credit_limit"
    return None


@given(cases())
def test_deciding_leaves_the_locked_rows_as_they_are(case: Case) -> None:
    before = replace(case, customers=dict(case.customers), stock=dict(case.stock))
    case.decide()
    assert case == before


ALICE = Customer(customer_id=1, credit_limit_cents=1_000, balance_cents=0)
TEA = Stock(product_id=1, price_cents=100, available=5)
MILK = Stock(product_id=2, price_cents=100, available=5)


def order_of(*lines: tuple[int, int], customer_id: int = 1, number: int = 1) -> PlaceOrder:
    return PlaceOrder(
        order_id=UUID(int=number),
        customer_id=customer_id,
        lines=tuple(Line(product_id=product_id, quantity=quantity) for product_id, quantity in lines),
    )


def decide_one(
    *lines: tuple[int, int], customer_id: int = 1, customer: Customer = ALICE
) -> Placed | Rejected:
    (outcome,) = decide([order_of(*lines, customer_id=customer_id)], {1: customer}, {1: TEA, 2: MILK})
    return outcome


def rejected(reason: str, product_id: int | None = None) -> Rejected:
    return Rejected.model_validate({"order_id": UUID(int=1), "reason": reason, "product_id": product_id})


def test_an_order_that_fits_is_placed() -> None:
    assert decide_one((1, 2), (2, 1)) == Placed(order_id=UUID(int=1), total_cents=300)


def test_an_unknown_customer_comes_before_every_other_reason() -> None:
    assert decide_one((9, 1), (1, 6), customer_id=2) == rejected("unknown_customer")


def test_an_unknown_product_comes_before_a_short_one() -> None:
    assert decide_one((1, 6), (9, 1)) == rejected("unknown_product", 9)


def test_the_lowest_unknown_product_is_named() -> None:
    assert decide_one((9, 1), (7, 1), (8, 1)) == rejected("unknown_product", 7)


def test_an_order_is_rejected_when_one_product_is_short() -> None:
    assert decide_one((1, 1), (2, 6)) == rejected("insufficient_stock", 2)


def test_the_lowest_short_product_is_named() -> None:
    assert decide_one((2, 6), (1, 6)) == rejected("insufficient_stock", 1)


def test_a_short_product_comes_before_the_credit_limit() -> None:
    poor = ALICE._replace(credit_limit_cents=0)
    assert decide_one((1, 6), customer=poor) == rejected("insufficient_stock", 1)


def test_an_order_that_passes_the_credit_limit_is_rejected() -> None:
    owing = ALICE._replace(balance_cents=701)
    assert decide_one((1, 3), customer=owing) == rejected("credit_limit")


def test_an_order_may_reach_the_credit_limit() -> None:
    owing = ALICE._replace(balance_cents=700)
    assert decide_one((1, 3), customer=owing) == Placed(order_id=UUID(int=1), total_cents=300)


def test_a_customer_without_a_limit_may_owe_anything() -> None:
    rich = ALICE._replace(credit_limit_cents=None, balance_cents=10**15)
    assert isinstance(decide_one((1, 5), customer=rich), Placed)


def test_the_last_piece_can_be_sold() -> None:
    assert isinstance(decide_one((1, 5)), Placed)


@pytest.mark.parametrize("lines", [((1, 3), (1, 3)), ((1, 3), (2, 1), (1, 3))])
def test_lines_of_one_product_are_short_together(lines: tuple[tuple[int, int], ...]) -> None:
    assert decide_one(*lines) == rejected("insufficient_stock", 1)


def test_what_an_order_takes_is_gone_for_the_next() -> None:
    batch = [order_of((1, 3)), order_of((1, 3), number=2), order_of((1, 2), number=3)]
    outcomes = decide(batch, {1: ALICE}, {1: TEA})
    assert [outcome.status for outcome in outcomes] == ["placed", "rejected", "placed"]


def test_what_an_order_costs_is_owed_for_the_next() -> None:
    limited = ALICE._replace(credit_limit_cents=500)
    batch = [order_of((1, 3)), order_of((2, 3), number=2), order_of((2, 2), number=3)]
    outcomes = decide(batch, {1: limited}, {1: TEA, 2: MILK})
    assert [outcome.status for outcome in outcomes] == ["placed", "rejected", "placed"]


def test_customers_do_not_owe_for_each_other() -> None:
    limited = ALICE._replace(credit_limit_cents=300)
    batch = [order_of((1, 3)), order_of((2, 3), customer_id=2, number=2)]
    outcomes = decide(batch, {1: limited, 2: limited._replace(customer_id=2)}, {1: TEA, 2: MILK})
    assert [outcome.status for outcome in outcomes] == ["placed", "placed"]
