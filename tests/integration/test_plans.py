"""What statements read of a long history, counted by the server; and what `lockstep explain` says of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from jobs.orders.storefront import NEWEST, PAGE, Before
from jobs.transaction import Statement, load_statements
from tests.asking import PATIENT, Session, open_session
from tests.integration.patience import ENVIRONMENT
from tests.shop import open_shop
from worker import cli
from worker.database.examples import EXAMPLES
from worker.database.migrations import migrate
from worker.database.plans import MOST_READS, all_statements, explain
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.settings import Settings

Lockstep = Callable[..., Awaitable[Result]]
ORDERS: Final = 100_000
BUSY: Final = 1  # half of all orders are this customer's, and half of all reviews are of this product
HASTY: Final = 2  # a quarter of all orders, all of one moment
READS: Final = {
    "product",
    "page_of_products",
    "reviews_of_product",
    "orders_of_customer",
    "parties_of_review",
    "review",
}
STOREFRONT: Final = load_statements("orders/storefront.sql")
DIGITS: Final = " UNION ALL ".join(f"SELECT {digit} AS digit" for digit in range(10))
ID: Final = "UNHEX(LPAD(HEX(n), 32, '0'))"
MOMENT: Final = "'2026-01-01' + INTERVAL n SECOND"
FILL: Final = (
    "CREATE TABLE numbers (n INT PRIMARY KEY)",
    f"""INSERT INTO numbers
          WITH digits AS ({DIGITS})
        SELECT a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit + 10000 * e.digit
          FROM digits AS a, digits AS b, digits AS c, digits AS d, digits AS e""",
    "INSERT INTO customers (customer_id, name) SELECT n, n FROM numbers WHERE n BETWEEN 1 AND 1000",
    "INSERT INTO products (product_id, name) SELECT n, n FROM numbers WHERE n BETWEEN 1 AND 1000",
    "INSERT INTO stock SELECT product_id, 1, 1 FROM products",
    f"""INSERT INTO orders (order_id, customer_id, status, total_cents, fingerprint, placed_at)
        SELECT {ID}, CASE MOD(n, 4) WHEN 0 THEN 3 + MOD(n, 998) WHEN 1 THEN {HASTY} ELSE {BUSY} END, 'placed', 1,
               REPEAT('x', 16), IF(MOD(n, 4) = 1, '2026-01-01', {MOMENT})
          FROM numbers""",
    f"INSERT INTO order_lines SELECT {ID}, 1 + MOD(n, 1000), 1, 1 FROM numbers",
    f"INSERT INTO reviews SELECT {ID}, IF(MOD(n, 2), {BUSY}, 2 + MOD(n, 999)), 1, 5, 'x', {MOMENT} FROM numbers",
    "UPDATE products SET review_count = 50000, rating_total = 250000 WHERE product_id = 1",
    "ANALYZE TABLE customers, products, stock, orders, order_lines, reviews",
)


@pytest.fixture(scope="module")
async def history(servers: Servers) -> AsyncIterator[Database]:
    """A database of its own with 100,000 orders and as many reviews."""
    name = f"{urlsplit(servers.mysql_url).path.strip('/')}_history"
    worker, owner = (
        urlsplit(url)._replace(path=f"/{name}").geturl() for url in (servers.mysql_url, servers.migration_url)
    )
    await asyncio.to_thread(migrate, owner)
    async with open_session(owner) as session:
        for statement in FILL:
            await session.run(statement)
        async with Database(Settings(mysql_url=worker, redis_url=servers.redis_url, **PATIENT)) as database:
            yield database
        await session.run(f"DROP DATABASE {name}")


def examples(customer_id: int = BUSY, before: Before = NEWEST) -> dict[str, Any]:
    """Of a page of the busiest."""
    place = {"before": f"{before.placed_at:%Y-%m-%d %H:%M:%S}", "before_id": before.order_id.hex}
    return {**EXAMPLES, "product_id": BUSY, "customer_id": customer_id, "size": PAGE, "after": 500} | place


@pytest.mark.parametrize("name", sorted(STOREFRONT))
async def test_a_statement_of_the_storefront_reads_as_many_rows_as_its_page_has(
    name: str, history: Database
) -> None:
    """Each row of a page is read a few times: from its table, from those that it names, and from the page itself."""
    plan = await explain(history, STOREFRONT[name], examples())
    assert plan.faults == ()
    assert (plan.rows_read is not None) is (name in READS)
    assert (plan.rows_read or 0) <= 8 * PAGE


MIDDLE: Final = Before(datetime(2026, 1, 1, 13, tzinfo=UTC), UUID(int=ORDERS // 2))
SAME_MOMENT: Final = Before(datetime(2026, 1, 1, tzinfo=UTC), UUID(int=ORDERS // 2))


@pytest.mark.parametrize(("customer_id", "before"), [(BUSY, MIDDLE), (HASTY, NEWEST), (HASTY, SAME_MOMENT)])
async def test_a_page_costs_the_same_wherever_it_is_in_a_history(
    customer_id: int, before: Before, history: Database
) -> None:
    statement = STOREFRONT["orders_of_customer"]
    newest = await explain(history, statement, examples())
    page = await explain(history, statement, examples(customer_id, before))
    assert page.faults == ()
    assert page.rows_read == pytest.approx(newest.rows_read, abs=2)


async def test_what_a_plan_does_not_show_is_counted(history: Database) -> None:
    """By its plan it is as good as a page by key."""
    by_offset = Statement(
        "by_offset",
        "SELECT order_id FROM orders FORCE INDEX (orders_of_customer) WHERE customer_id = %(customer_id)s"
        " ORDER BY placed_at DESC, order_id DESC LIMIT %(size)s OFFSET 40000",
    )
    plan = await explain(history, by_offset, examples())
    assert plan.rows_read is not None
    assert plan.rows_read > 40_000 > MOST_READS
    assert plan.faults == (f"reads {plan.rows_read:,} rows",)


async def test_an_index_of_the_storefront_says_which_statement_needs_it(
    history: Database, servers: Servers
) -> None:
    async with open_session(servers.migration_url) as session:
        indexes = await session.run(
            "SELECT DISTINCT INDEX_NAME AS name, INDEX_COMMENT AS comment FROM information_schema.STATISTICS"
            " WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME <> 'PRIMARY'"
            " AND (TABLE_NAME = 'reviews' OR INDEX_NAME = 'orders_of_customer')"
        )
    assert {index["name"] for index in indexes} == {"reviews_of_product", "orders_of_customer"}
    for index in indexes:
        name, _, _ = index["comment"].partition(":")
        plan = await explain(history, STOREFRONT[name], examples())
        assert index["name"] in {step.key for step in plan.steps}


@pytest.fixture
def lockstep(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lockstep:
    """Run a command; its result."""
    monkeypatch.setenv("LOCKSTEP_MYSQL_URL", settings.mysql_url)
    monkeypatch.setenv("LOCKSTEP_REDIS_URL", settings.redis_url)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli.main, arguments)

    return run


async def test_the_plan_of_a_statement_is_printed_with_its_parameters_and_a_verdict(
    lockstep: Lockstep, database: Database
) -> None:
    await open_shop(database, {7: 5})
    printed = await lockstep("explain", "product")
    assert printed.exit_code == 0
    assert "product, sql/orders/storefront.sql" in printed.output
    assert "product_id: 7" in printed.output, "an example that is there"
    assert re.search(r"simple +stock +const +PRIMARY +1", printed.output)
    assert printed.output.endswith("rows read: 2\n\ngood\n")


async def test_all_statements_are_listed_with_a_verdict(lockstep: Lockstep, database: Database) -> None:
    await open_shop(database, dict.fromkeys(range(1, 500), 5))
    printed = await lockstep("explain")
    assert printed.exit_code == 0, printed.output
    listed = {line.split()[0] for line in printed.output.splitlines() if line and not line.startswith(" ")}
    assert listed - {"statement"} == set(all_statements())
    assert "by design (the audit" in " ".join(printed.output.split())


async def test_a_statement_that_is_badly_run_is_told_by_the_exit_code(
    lockstep: Lockstep, session: Session, database: Database
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 500), 5))
    await session.run("ALTER TABLE stock DROP PRIMARY KEY")
    try:
        printed = await lockstep("explain", "product")
    finally:
        await session.run("ALTER TABLE stock ADD PRIMARY KEY (product_id)")
    assert printed.exit_code == 1
    assert "bad: reads the whole table stock, about 499 rows" in printed.output


@pytest.mark.parametrize("name", ["no_such_statement", "innodb_status"])
async def test_a_statement_without_a_plan_is_refused_in_a_sentence(name: str, lockstep: Lockstep) -> None:
    refused = await lockstep("explain", name)
    assert refused.exit_code == 1
    assert f"sql/ has no statement {name} with a plan" in refused.output
