"""Does the database hold what the clients were told? Pure: history and books in, violations out."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from jobs.contract import Conflict
from jobs.orders.audit import Finding
from jobs.orders.known_orders import KnownOrder
from jobs.orders.outcomes import AnyOutcome, Restocked
from jobs.orders.requests import PlaceOrder, Restock
from tests.soak.books import Books
from tests.soak.history import Asked

ANSWERED: Final = "every_request_is_answered"
HELD: Final = "outcomes_are_what_the_database_holds"
SAME: Final = "an_order_has_the_same_outcome_each_time"
LOST: Final = "nothing_accepted_is_lost"
ASKED_FOR: Final = "nothing_is_there_that_nobody_asked_for"
STOCK: Final = "stock_is_what_the_requests_leave"
AGAIN: Final = "asking_again_changes_nothing"
BUGS: Final = "no_worker_meets_a_bug"
RULES: Final = (ANSWERED, HELD, SAME, LOST, ASKED_FOR, STOCK, AGAIN, BUGS)

# What an answer says about the order for good; `not_found` and `rejected` are judged otherwise.
_FOR_GOOD: Final = {
    "cancelled": "cancelled",
    "already_cancelled": "cancelled",
    "shipped": "shipped",
    "already_shipped": "shipped",
}


class Violation(NamedTuple):
    """A rule that is broken, and where."""

    rule: str
    what: str


def find_violations(
    history: Sequence[Asked], books: Books, first_stock: Mapping[int, int], flushes: Sequence[float]
) -> list[Violation]:
    """Everything that is wrong. `flushes`: when Redis was emptied, in seconds after the start."""
    return [
        *_unanswered(history),
        *_untrue(history, books),
        *_differing(history),
        *_lost(history, books, max(flushes, default=-1.0)),
        *_unasked(history, books),
        *_stock(history, books, first_stock),
    ]


def as_findings(violations: Sequence[Violation]) -> list[Finding]:
    """As an audit tells it: rule by rule."""
    counts = Counter(violation.rule for violation in violations)
    examples = {violation.rule: violation.what for violation in reversed(violations)}
    return [Finding(rule, counts[rule], examples.get(rule)) for rule in RULES]


def _unanswered(history: Sequence[Asked]) -> Iterator[Violation]:
    for asked in history:
        if asked.accepted_at is None or (asked.waits and asked.outcome is None):
            yield Violation(ANSWERED, f"{_name(asked)}, asked at {asked.asked_at:.1f} s")


def _untrue(history: Sequence[Asked], books: Books) -> Iterator[Violation]:
    first_seen: dict[object, float] = {}
    for asked in history:
        if isinstance(asked.request, PlaceOrder) and asked.seen_at is not None:
            first_seen[asked.id] = min(asked.seen_at, first_seen.get(asked.id, asked.seen_at))
    for asked in history:
        if asked.outcome and not _is_held(asked, asked.outcome, books, first_seen.get(asked.id)):
            order = books.orders.get(asked.id)
            held = _short(order.standing_outcome()) if order else books.restocks.get(asked.id, "nothing")
            yield Violation(
                HELD, f"{_name(asked)} was told {_short(asked.outcome)}; the database holds {held}"
            )


def _is_held(asked: Asked, outcome: AnyOutcome, books: Books, first_seen: float | None) -> bool:
    if isinstance(asked.request, Restock):
        row = (asked.request.product_id, asked.request.quantity)
        return isinstance(outcome, Restocked) and books.restocks.get(asked.id) == row
    if outcome.status == "not_found":
        return first_seen is None or first_seen >= asked.asked_at
    order = books.orders.get(asked.id)
    if order is None:
        return False
    if isinstance(asked.request, PlaceOrder):
        return outcome == _placing(order, asked.request)
    return outcome == order.first_outcome() or _FOR_GOOD.get(outcome.status) == order.status


def _placing(order: KnownOrder, request: PlaceOrder) -> AnyOutcome:
    if order.fingerprint == request.fingerprint:
        return order.first_outcome()
    return Conflict(id=request.order_id)


def _differing(history: Sequence[Asked]) -> Iterator[Violation]:
    told = defaultdict[object, set[AnyOutcome]](set)
    for asked in history:
        if isinstance(asked.request, PlaceOrder) and asked.outcome:
            told[asked.id, asked.request.fingerprint].add(asked.outcome)
    for outcomes in told.values():
        if len(outcomes) > 1:
            yield Violation(SAME, " and ".join(sorted(map(_short, outcomes))))


def _lost(history: Sequence[Asked], books: Books, last_flush: float) -> Iterator[Violation]:
    """FLUSHALL may lose a request whose client has left, unless it was staged in the database."""
    for asked in history:
        safe = asked.waits or asked.staged or asked.asked_at > last_flush
        if asked.accepted_at is None or not safe:
            continue
        if isinstance(asked.request, PlaceOrder) and asked.id not in books.orders:
            yield Violation(LOST, f"{_name(asked)}, accepted at {asked.accepted_at:.1f} s, has no outcome")
        if isinstance(asked.request, Restock) and asked.id not in books.restocks:
            yield Violation(LOST, f"{_name(asked)}, accepted at {asked.accepted_at:.1f} s, did not come in")


def _unasked(history: Sequence[Asked], books: Books) -> Iterator[Violation]:
    fingerprints = {
        (asked.id, asked.request.fingerprint) for asked in history if isinstance(asked.request, PlaceOrder)
    }
    jobs = {(type(asked.request).__name__, asked.id) for asked in history}
    needs = {"cancelled": "CancelOrder", "shipped": "ShipOrder"}
    for order in books.orders.values():
        needed = needs.get(order.status)
        if (order.order_id, order.fingerprint) not in fingerprints:
            yield Violation(ASKED_FOR, f"{order}")
        elif needed and (needed, order.order_id) not in jobs:
            yield Violation(ASKED_FOR, f"{order}: nobody asked for {needed}")


def _stock(history: Sequence[Asked], books: Books, first_stock: Mapping[int, int]) -> Iterator[Violation]:
    """By the lines that the clients sent, and the restocks that they asked for."""
    left = Counter(first_stock)
    contents = {
        (asked.id, asked.request.fingerprint): asked.request.quantities
        for asked in history
        if isinstance(asked.request, PlaceOrder)
    }
    for order in books.orders.values():
        if order.status in {"placed", "shipped"}:
            left.subtract(contents.get((order.order_id, order.fingerprint), {}))
    restocks = {asked.id: asked.request for asked in history if isinstance(asked.request, Restock)}
    for restock_id in books.restocks.keys() & restocks.keys():
        left[restocks[restock_id].product_id] += restocks[restock_id].quantity
    for product_id, available in books.available.items():
        if available != left[product_id]:
            yield Violation(STOCK, f"product {product_id}: {available} available, {left[product_id]} left")


def _short(outcome: AnyOutcome) -> str:
    return outcome.model_dump_json(exclude_none=True)


def _name(asked: Asked) -> str:
    return f"{type(asked.request).__name__} {asked.id}"
