"""Check every invariant of the tables, a page of orders at a time, in memory that does not grow with them."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from jobs.orders.pages import Page, pages_of_orders
from jobs.outbox import KINDS_OF_STATUS
from jobs.transaction import Reader, Row, Statement, load_statements

PAGE: Final = 10_000  # orders, or rows of another table
INVARIANTS: Final = (
    "stock_adds_up",
    "stock_is_never_negative",
    "every_product_has_stock",
    "balances_add_up",
    "no_credit_limit_is_passed",
    "totals_add_up",
    "orders_name_known_customers_and_products",
    "every_outcome_has_one_event",
    "reviews_are_counted",
)
_AUDIT = load_statements("orders/audit.sql")
_OF_SMALL_TABLES: Final = ("stock_is_never_negative", "every_product_has_stock", "no_credit_limit_is_passed")
_OF_A_PAGE: Final = ("totals_add_up", "every_outcome_has_one_event")


@dataclass(frozen=True, slots=True)
class Finding:
    """How often an invariant is broken, and one of the places."""

    invariant: str
    violations: int
    example: str | None


@dataclass(slots=True)
class Checked:
    """How much an audit has checked so far."""

    orders: int = 0
    lines: int = 0
    products: int = 0
    customers: int = 0
    restocks: int = 0


async def audit(reader: Reader, report: Callable[[Checked], None] = lambda _: None) -> list[Finding]:
    """Every invariant, in the order of `INVARIANTS`. In one transaction all of it is one snapshot.

    `report` is called after each page of orders.
    """
    books = _Books()
    await books.open(reader)
    async for page in pages_of_orders(reader, PAGE):
        await books.add(reader, page)
        report(books.checked)
    return books.close()


class _Books:
    """What is there, and what must be there: a number a product and a customer each."""

    def __init__(self) -> None:
        self.checked = Checked()
        self._available: dict[int, int] = {}
        self._came_in: Counter[int] = Counter()
        self._taken: Counter[int] = Counter()
        self._balances: dict[int, int] = {}
        self._owed: Counter[int] = Counter()
        self._events: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._violations: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    async def open(self, reader: Reader) -> None:
        """All but the orders. These rows change most: read first, they have few old versions to go back through."""
        async for row in _rows(reader, _AUDIT["stock_rows"]):
            self._available[row["product_id"]] = row["available"]
        async for row in _rows(reader, _AUDIT["customer_rows"]):
            self._balances[row["customer_id"]] = row["balance_cents"]
        async for row in _rows(reader, _AUDIT["purged_sales_rows"]):
            self._taken[row["product_id"]] = row["quantity"]
        async for row in _rows(reader, _AUDIT["purged_totals_rows"]):
            self._owed[row["customer_id"]] = row["total_cents"]
        async for row in _rows(reader, _AUDIT["restock_rows"], first=""):
            self.checked.restocks += 1
            self._came_in[row["product_id"]] += row["quantity"]
            if row["product_id"] not in self._available:
                self._unknown(1, f"restock {row['restock_id'].upper()}: product {row['product_id']}")
        self.checked.products, self.checked.customers = len(self._available), len(self._balances)
        for name in _OF_SMALL_TABLES:
            await self._ask(reader, name, {})
        await self._count_events(reader, "published_event_rows", {})
        await self._check_reviews(reader)

    async def add(self, reader: Reader, page: Page) -> None:
        """The orders of a page."""
        limits = {"after": page.after, "last": page.last}
        for row in await reader.fetch(_AUDIT["owed_by_page"], limits):
            self._owed[row["customer_id"]] += row["owed_cents"]
            if row["customer_id"] not in self._balances:
                example = f"order {row['first_order_id']}: customer {row['customer_id']}"
                self._unknown(row["order_count"], example)
        for row in await reader.fetch(_AUDIT["taken_by_page"], limits):
            self._taken[row["product_id"]] += row["quantity"]
            self.checked.lines += row["line_count"]
            if row["product_id"] not in self._available:
                self._unknown(
                    row["line_count"], f"order {row['first_order_id']}: product {row['product_id']}"
                )
        for row in await reader.fetch(_AUDIT["orders_by_page"], limits):
            self._outcomes.update(dict.fromkeys(KINDS_OF_STATUS[row["status"]], row["orders"]))
        await self._count_events(reader, "events_by_page", limits)
        for name in _OF_A_PAGE:
            await self._ask(reader, name, limits)
        self.checked.orders += page.orders

    def close(self) -> list[Finding]:
        """Compare the sums."""
        for product_id, available in self._available.items():
            came_in, taken = self._came_in[product_id], self._taken[product_id]
            if available != came_in - taken:
                example = f"product {product_id}: available {available}, came in {came_in}, taken {taken}"
                self._violated("stock_adds_up", 1, example)
        for customer_id, balance_cents in self._balances.items():
            if balance_cents != (owed := self._owed[customer_id]):
                example = f"customer {customer_id}: balance {balance_cents}, orders {owed}"
                self._violated("balances_add_up", 1, example)
        for kind in sorted({*self._outcomes, *self._events}):
            outcomes, events = self._outcomes[kind], self._events[kind]
            if outcomes != events:
                example = f"{kind}: {outcomes} orders, {events} events, published or in the outbox"
                self._violated("every_outcome_has_one_event", abs(outcomes - events), example)
        return [Finding(name, self._violations[name], self._examples.get(name)) for name in INVARIANTS]

    async def _check_reviews(self, reader: Reader) -> None:
        counted: dict[int, tuple[int, int]] = {}
        async for row in _rows(reader, _AUDIT["product_rows"]):
            counted[row["product_id"]] = (row["review_count"], row["rating_total"])
        found = dict.fromkeys(counted, (0, 0))
        async for row in _rows(reader, _AUDIT["review_rows"], first=""):
            reviews, total = found.get(row["product_id"], (0, 0))
            found[row["product_id"]] = (reviews + 1, total + row["rating"])
        for product_id, sums in found.items():
            if (known := counted.get(product_id)) != sums:
                example = f"product {product_id}: count and sum of reviews {known}, found {sums}"
                self._violated("reviews_are_counted", 1, example)

    async def _ask(self, reader: Reader, invariant: str, limits: Mapping[str, str]) -> None:
        (row,) = await reader.fetch(_AUDIT[invariant], limits)
        if row["violations"]:
            self._violated(invariant, row["violations"], row["example"])

    async def _count_events(self, reader: Reader, name: str, limits: Mapping[str, str]) -> None:
        for row in await reader.fetch(_AUDIT[name], limits):
            self._events[row["kind"]] += row["events"]

    def _unknown(self, violations: int, example: str) -> None:
        self._violated("orders_name_known_customers_and_products", violations, example)

    def _violated(self, invariant: str, violations: int, example: str) -> None:
        self._violations[invariant] += violations
        self._examples.setdefault(invariant, example)


async def _rows(reader: Reader, statement: Statement, first: int | str = 0) -> AsyncIterator[Row]:
    """All rows of a table, in pages by its key: the first column."""
    after, rows = first, None
    while rows is None or len(rows) == PAGE:
        rows = await reader.fetch(statement, {"after": after, "size": PAGE})
        for row in rows:
            yield row
        if rows:
            after = next(iter(rows[-1].values()))
