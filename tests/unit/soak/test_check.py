"""Each promise, kept and broken: the check must find what is wrong, and nothing else."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from jobs.contract import Conflict
from jobs.orders.known_orders import KnownOrder
from jobs.orders.outcomes import AlreadyShipped, AnyOutcome, Cancelled, NotFound, Placed, Rejected, Restocked
from jobs.orders.requests import CancelOrder, Line, PlaceOrder, Restock, ShipOrder
from tests.soak.books import Books
from tests.soak.check import (
    ANSWERED,
    ASKED_FOR,
    HELD,
    LOST,
    RULES,
    SAME,
    STOCK,
    as_findings,
    find_violations,
)
from tests.soak.history import AnyRequest, Asked

ID, RESTOCK_ID = uuid4(), uuid4()
ORDER = PlaceOrder(order_id=ID, customer_id=1, lines=(Line(product_id=1, quantity=2),))
OTHER = ORDER.model_copy(update={"lines": (Line(product_id=1, quantity=3),)})
RESTOCK = Restock(restock_id=RESTOCK_ID, product_id=1, quantity=7)
PLACED = Placed(order_id=ID, total_cents=200)
RESTOCKED = Restocked(restock_id=RESTOCK_ID, product_id=1, quantity=7)
KNOWN = KnownOrder(ID, 1, "placed", None, None, 200, ORDER.fingerprint)


def told(request: AnyRequest, outcome: AnyOutcome | None, at: float = 1.0) -> Asked:
    return Asked(request, at, accepted_at=at, outcome=outcome, seen_at=at + 0.5 if outcome else None)


def gone(request: AnyRequest, at: float = 1.0) -> Asked:
    return Asked(request, at, waits=False, accepted_at=at)


def books(*orders: KnownOrder, restocks: dict[UUID, tuple[int, int]] | None = None) -> Books:
    taken = sum(2 for order in orders if order.status in {"placed", "shipped"})
    came_in = sum(quantity for _, quantity in (restocks or {}).values())
    return Books({order.order_id: order for order in orders}, restocks or {}, {1: 10 - taken + came_in})


def broken(history: list[Asked], held: Books, flushes: tuple[float, ...] = ()) -> set[str]:
    return {violation.rule for violation in find_violations(history, held, {1: 10}, flushes)}


KEPT = {
    "placed, and asked again": ([told(ORDER, PLACED), told(ORDER, PLACED, 5)], books(KNOWN)),
    "other content is a conflict": ([told(ORDER, PLACED), told(OTHER, Conflict(id=ID))], books(KNOWN)),
    "placed, then cancelled": (
        [told(ORDER, PLACED), told(CancelOrder(order_id=ID), Cancelled(order_id=ID), 2)],
        books(replace(KNOWN, status="cancelled")),
    ),
    "shipped, so not cancelled": (
        [
            told(ORDER, PLACED),
            gone(ShipOrder(order_id=ID)),
            told(CancelOrder(order_id=ID), AlreadyShipped(order_id=ID), 2),
        ],
        books(replace(KNOWN, status="shipped")),
    ),
    "cancelled before it was placed": (
        [told(CancelOrder(order_id=ID), NotFound(order_id=ID), 0.5), told(ORDER, PLACED)],
        books(KNOWN),
    ),
    "restocked": ([told(RESTOCK, RESTOCKED)], books(restocks={RESTOCK_ID: (1, 7)})),
    "left, and placed": ([gone(ORDER)], books(KNOWN)),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_history_that_the_database_holds_breaks_no_rule(name: str) -> None:
    assert not broken(*KEPT[name])


@pytest.mark.parametrize(
    ("rule", "history", "held"),
    [
        (ANSWERED, [told(ORDER, None)], books(KNOWN)),
        (ANSWERED, [Asked(ORDER, 1.0, waits=False)], books(KNOWN)),
        (HELD, [told(ORDER, Placed(order_id=ID, total_cents=201))], books(KNOWN)),
        (HELD, [told(OTHER, PLACED), gone(ORDER)], books(KNOWN)),
        (
            HELD,
            [told(ORDER, PLACED), told(CancelOrder(order_id=ID), Cancelled(order_id=ID))],
            books(KNOWN),
        ),
        (
            HELD,
            [told(ORDER, PLACED), told(CancelOrder(order_id=ID), NotFound(order_id=ID), 2)],
            books(KNOWN),
        ),
        (HELD, [told(RESTOCK, RESTOCKED)], books()),
        (
            SAME,
            [told(ORDER, PLACED), told(ORDER, Rejected(order_id=ID, reason="credit_limit"))],
            books(KNOWN),
        ),
        (LOST, [told(ORDER, PLACED)], books()),
        (LOST, [gone(ORDER)], books()),
        (LOST, [gone(RESTOCK)], books()),
        (ASKED_FOR, [], books(KNOWN)),
        (ASKED_FOR, [told(ORDER, PLACED)], books(replace(KNOWN, status="cancelled"))),
        (STOCK, [told(ORDER, PLACED)], replace(books(KNOWN), available={1: 9})),
    ],
)
def test_what_is_wrong_is_found(rule: str, history: list[Asked], held: Books) -> None:
    assert rule in broken(history, held)


def test_a_flush_may_lose_only_what_nobody_waits_for_and_what_is_not_staged() -> None:
    assert not broken([gone(ORDER, at=1)], books(), flushes=(2,))
    assert broken([gone(ORDER, at=3)], books(), flushes=(2,)) == {LOST}
    assert broken([replace(gone(ORDER, at=1), staged=True)], books(), flushes=(2,)) == {LOST}
    assert LOST in broken([told(ORDER, PLACED, at=1)], books(), flushes=(2,))


def test_violations_are_counted_by_rule_with_the_first_as_the_example() -> None:
    violations = find_violations([told(ORDER, None), told(OTHER, None, 2)], books(KNOWN), {1: 10}, ())
    findings = {finding.invariant: finding for finding in as_findings(violations)}
    assert list(findings) == list(RULES)
    assert findings[ANSWERED].violations == 2
    assert findings[ANSWERED].example == f"PlaceOrder {ID}, asked at 1.0 s"
    assert not findings[LOST].violations
