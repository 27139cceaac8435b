from typing import Any

import pytest

from jobs.orders import audit as module
from jobs.orders.audit import INVARIANTS, Checked, Finding, audit
from jobs.transaction import Parameters, Row, Statement, load_statements
from tests.unit.jobs.recording import RecordingTransaction

HOLDS: dict[str, Any] = {"violations": 0, "example": None}
TABLES: dict[str, list[Row]] = {
    "stock_rows": [{"product_id": 1, "available": 3}, {"product_id": 2, "available": 5}],
    "customer_rows": [{"customer_id": 7, "balance_cents": 500}, {"customer_id": 8, "balance_cents": 0}],
    "purged_sales_rows": [{"product_id": 1, "quantity": 4}],
    "purged_totals_rows": [{"customer_id": 7, "total_cents": 300}],
    "restock_rows": [
        {"restock_id": "0a", "product_id": 1, "quantity": 10},
        {"restock_id": "0b", "product_id": 2, "quantity": 5},
    ],
    "owed_by_page": [{"customer_id": 7, "order_count": 2, "first_order_id": "AB", "owed_cents": 200}],
    "taken_by_page": [{"product_id": 1, "line_count": 2, "first_order_id": "AB", "quantity": 3}],
    "orders_by_page": [{"status": "cancelled", "orders": 2}, {"status": "rejected", "orders": 1}],
    "events_by_page": [{"kind": "order.rejected", "events": 1}, {"kind": "order.placed", "events": 1}],
    "published_event_rows": [{"kind": "order.placed", "events": 1}, {"kind": "order.cancelled", "events": 2}],
    "product_rows": [
        {"product_id": 1, "review_count": 2, "rating_total": 7},
        {"product_id": 2, "review_count": 0, "rating_total": 0},
    ],
    "review_rows": [
        {"review_id": "0c", "product_id": 1, "rating": 5},
        {"review_id": "0d", "product_id": 1, "rating": 2},
    ],
    "page_of_orders": [{"orders": 2, "last_order_id": "ab"}],
    **{name: [HOLDS] for name in INVARIANTS},
}


def findings_of(findings: list[Finding]) -> dict[str, tuple[int, str | None]]:
    return {
        finding.invariant: (finding.violations, finding.example) for finding in findings if finding.violations
    }


async def test_sums_of_tables_pages_and_purged_orders_are_compared() -> None:
    transaction = RecordingTransaction(TABLES)
    findings = await audit(transaction)
    assert [finding.invariant for finding in findings] == list(INVARIANTS)
    assert findings_of(findings) == {}
    assert set(transaction.statements) == {*load_statements("orders/audit.sql"), "page_of_orders"}


async def test_stock_and_customers_are_read_before_the_orders() -> None:
    transaction = RecordingTransaction(TABLES)
    await audit(transaction)
    assert transaction.statements[:2] == ["stock_rows", "customer_rows"]
    assert transaction.statements.index("page_of_orders") > transaction.statements.index("restock_rows")


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (
            {"stock_rows": [{"product_id": 1, "available": 4}, TABLES["stock_rows"][1]]},
            {"stock_adds_up": (1, "product 1: available 4, came in 10, taken 7")},
        ),
        (
            {"customer_rows": [{"customer_id": 7, "balance_cents": 1}]},
            {"balances_add_up": (1, "customer 7: balance 1, orders 500")},
        ),
        (
            {"customer_rows": []},
            {"orders_name_known_customers_and_products": (2, "order AB: customer 7")},
        ),
        (
            {"stock_rows": [TABLES["stock_rows"][1]]},
            {"orders_name_known_customers_and_products": (3, "restock 0A: product 1")},
        ),
        (
            {"published_event_rows": [{"kind": "order.placed", "events": 2}]},
            {
                "every_outcome_has_one_event": (
                    3,
                    "order.cancelled: 2 orders, 0 events, published or in the outbox",
                )
            },
        ),
        (
            {"review_rows": [{"review_id": "0c", "product_id": 2, "rating": 5}]},
            {
                "reviews_are_counted": (
                    2,
                    "product 1: count and sum of reviews (2, 7), found (0, 0)",
                )
            },
        ),
        (
            {"product_rows": [TABLES["product_rows"][1]]},
            {
                "reviews_are_counted": (
                    1,
                    "product 1: count and sum of reviews None, found (2, 7)",
                )
            },
        ),
        (
            {name: [{"violations": 3, "example": name}] for name in INVARIANTS},
            {
                name: (3, name)
                for name in INVARIANTS
                if name
                not in {
                    "stock_adds_up",
                    "balances_add_up",
                    "orders_name_known_customers_and_products",
                    "reviews_are_counted",
                }
            },
        ),
    ],
)
async def test_what_differs_is_found(rows: dict[str, list[Row]], found: dict[str, tuple[int, str]]) -> None:
    assert findings_of(await audit(RecordingTransaction({**TABLES, **rows}))) == found


async def test_what_was_checked_is_told_after_each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    told: list[int] = []
    last = Checked()

    def report(checked: Checked) -> None:
        nonlocal last
        last = checked
        told.append(checked.orders)

    class FullFirstPage(RecordingTransaction):
        async def fetch(self, statement: Statement, parameters: Parameters) -> Any:
            rows = await super().fetch(statement, parameters)
            if statement.name == "page_of_orders" and not parameters["after"]:
                return [{"orders": 3, "last_order_id": "ab"}]
            return rows

    await audit(FullFirstPage(TABLES), report)
    assert told == [3, 5]
    assert last == Checked(orders=5, lines=4, products=2, customers=2, restocks=2)
