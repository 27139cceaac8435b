"""The tables between rounds: emptied, filled again, and checked."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import IO, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from benchmarks.loads import Load
from jobs.orders.add_catalogue import add_customers, add_products
from jobs.orders.audit import audit
from jobs.transaction import Statement
from worker.database.transactions import Database
from worker.errors import LockstepError

ROWS: Final = 1000  # a transaction, when the shop is filled
EMPTY: Final = "SET foreign_key_checks = 0;" + "".join(
    f"TRUNCATE {table};"
    for table in (
        "outbox",
        "published_events",
        "restocks",
        "order_lines",
        "orders",
        "stock",
        "products",
        "customers",
    )
)
LEAST_PLACED: Final = 0.85  # of a round's orders: a rejection is less work
_ORDERS: Final = Statement("orders", "SELECT LOWER(HEX(order_id)) AS order_id, status FROM orders")
Row = TypeVar("Row")


def mysql_client(mysql_url: str, **streams: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401  # Popen's own
    """The command line client, reading statements from its standard input; it ends at the first error."""
    program = shutil.which("mariadb") or shutil.which("mysql")
    if program is None:
        raise LockstepError("the benchmarks need the command line client `mariadb` or `mysql`: install it.")
    url = urlsplit(mysql_url)
    command = [
        program, "--no-defaults", "--protocol=tcp", f"--host={url.hostname}", f"--port={url.port}",
        f"--user={url.username}", "--default-character-set=utf8mb4", "--max-allowed-packet=64M",
        "--batch", "--raw", "--skip-column-names", "--quick", url.path.strip("/"),
    ]  # fmt: skip
    environment = {**os.environ, "MYSQL_PWD": unquote(url.password or "")}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **streams)


def run_sql(mysql_url: str, text: str, output: IO[bytes] | int = subprocess.DEVNULL) -> None:
    """Run statements that are no part of any job; their rows go to `output`."""
    client = mysql_client(mysql_url, stdin=subprocess.PIPE, stdout=output)
    _, error = client.communicate(text.encode())
    if client.returncode:
        raise LockstepError(f"the database refused a statement of the benchmarks: {error.decode().strip()}.")


async def refill(database: Database, mysql_url: str, load: Load) -> None:
    """Nothing but the products and customers of this load."""
    run_sql(mysql_url, EMPTY)
    for products in _pages(load.products):
        await database.transact(partial(add_products, products=products), job="bench")
    for customers in _pages(load.customers):
        await database.transact(partial(add_customers, customers=customers), job="bench")


async def find_faults(database: Database, wanted: AbstractSet[str]) -> list[str]:
    """What does not add up after a round of these ids (in hex): a sentence each, none if all is well."""
    rows = await database.fetch(_ORDERS, {})
    found = {row["order_id"] for row in rows}
    faults = [
        f"{len(orders)} orders {what}, such as {min(orders)}"
        for orders, what in [(wanted - found, "have no outcome"), (found - wanted, "were never asked for")]
        if orders
    ]
    placed = sum(row["status"] == "placed" for row in rows)
    if placed < LEAST_PLACED * len(wanted):
        faults.append(f"only {placed} of {len(wanted)} orders were placed")
    findings = await database.transact(audit, job="bench")
    return faults + [
        f"{finding.invariant}: {finding.violations} violations, such as {finding.example}"
        for finding in findings
        if finding.violations
    ]


def _pages(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), ROWS):
        yield rows[start : start + ROWS]
