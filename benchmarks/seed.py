"""Fill empty tables with a long history: `python -m benchmarks.seed --orders 5000000`.

Real baskets over and over, one order every half minute from 2020 on: nine in ten shipped, the others cancelled, rejected
or still open. The audit holds at the end; a seed that was interrupted leaves lines without
their restocks, so begin again with a new database.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jobs.orders.add_catalogue import Product
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Transaction, load_statements
from worker.catalogue import load_catalogue
from worker.database.migrations import check_ready
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.files import open_source, read_csv, read_json_lines
from worker.settings import Settings, read_settings

SAMPLES: Final = Path(__file__).resolve().parent.parent / "samples" / "journey"
FIRST: Final = datetime(2020, 1, 1, tzinfo=UTC)
STEP: Final = timedelta(seconds=30)
MOST_LINES: Final = 3  # of a basket of long ago; all of them would make 55 million lines of 5 million orders
PATIENT: Final = {"mysql_connections": 1, "statement_seconds": 60.0, "transaction_seconds": 120.0}
_SEED = load_statements(str(Path(__file__).with_suffix(".sql")))
_FATES: Final = {0: "cancelled", 1: "rejected", 2: "placed"}  # by the number of the basket, modulo 20
Rows = list[dict[str, Any]]


async def seed(database: Database, orders: int, most_lines: int, report: Callable[[int], None]) -> None:
    """Add so many orders; `report` is called with their number so far. The database has one connection.

    Raises LockstepError where there are orders already.
    """
    await check_ready(database)
    if await database.fetch(_SEED["any_order"], {}):
        raise LockstepError("there are orders in this database already: seed a new one.")
    await load_catalogue(database, SAMPLES, progress=lambda _: None, report=_no_bad_line_of)
    baskets, lines = read_baskets(most_lines)
    for statement, rows in [  # temporary tables of the one connection: nothing is left behind
        ("make_basket_table", {}),
        ("make_line_table", {}),
        ("add_baskets", {"baskets": baskets}),
        ("add_basket_lines", {"lines": lines}),
        ("trust_the_references", {}),
    ]:
        await database.fetch(_SEED[statement], rows)
    for first in range(0, orders, len(baskets)):
        part = {"first": first, "baskets": min(len(baskets), orders - first)}
        await database.transact(partial(_add_pass, part=part), job="seed")
        report(first + part["baskets"])
    passes, rest = divmod(orders, len(baskets))
    await database.transact(partial(_settle, sold={"passes": passes, "baskets": rest}), job="seed")


async def _add_pass(transaction: Transaction, part: dict[str, int]) -> None:
    for name in ("seed_orders", "seed_order_lines"):
        await transaction.execute(_SEED[name], part)


async def _settle(transaction: Transaction, sold: dict[str, int]) -> None:
    for name in ("restock_what_was_sold", "add_to_balances", "count_published_events"):
        await transaction.execute(_SEED[name], sold)


def read_orders() -> list[PlaceOrder]:
    """The baskets of the samples, in their order."""
    with open_source(str(SAMPLES / "orders.jsonl.gz")) as source:
        return list(read_json_lines(source, PlaceOrder, _no_bad_line))


def time_of(number: int) -> datetime:
    """When the order with this number was placed, in UTC."""
    return FIRST + number * STEP


def order_id_of(number: int, baskets: int = 2000) -> str:
    """Its id, as the statements make it."""
    milliseconds = int(time_of(number).timestamp() * 1000)
    digest = sha256(str(number).encode()).hexdigest()
    return f"{milliseconds:012x}7{number % baskets:03x}8{digest[:15]}"


def read_baskets(most_lines: int) -> tuple[Rows, Rows]:
    """The orders of the samples, numbered and cut to their first lines, and these lines with their prices."""
    with open_source(str(SAMPLES / "products.csv.gz")) as source:
        prices = {
            product.product_id: product.price_cents for product in read_csv(source, Product, _no_bad_line)
        }
    baskets: Rows = []
    lines: Rows = []
    for number, order in enumerate(read_orders()):
        short = order.model_copy(update={"lines": order.lines[:most_lines]})
        status = _FATES.get(number % 20, "shipped")
        taken = [] if status == "rejected" else _lines(number, short, prices)
        lines += taken
        baskets.append({
                "basket": number,
                "customer_id": order.customer_id,
                "status": status,
                "total_cents": sum(line["quantity"] * line["unit_price_cents"] for line in taken),
                "fingerprint": short.fingerprint,
            })  # fmt: skip
    return baskets, lines


def _lines(number: int, order: PlaceOrder, prices: dict[int, int]) -> Rows:
    return [
        {
            "basket": number,
            "product_id": product_id,
            "quantity": quantity,
            "unit_price_cents": prices[product_id],
        }
        for product_id, quantity in order.quantities.items()
    ]


def _no_bad_line(line: int, problem: str) -> None:
    raise LockstepError(f"the samples are damaged, line {line}: {problem}.")


def _no_bad_line_of(_: str, line: int, problem: str) -> None:
    _no_bad_line(line, problem)


async def seed_with_a_bar(settings: Settings, orders: int, most_lines: int, console: Console) -> None:
    """Seed a database, and show how far it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with Database(settings.model_copy(update=PATIENT)) as database:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("orders of the past", total=orders)
            await seed(database, orders, most_lines, lambda done: progress.update(bar, completed=done))


@click.command()
@click.option("--orders", type=click.IntRange(1, 100_000_000), default=5_000_000, show_default=True)
@click.option(
    "--most-lines", type=click.IntRange(1, 500), default=MOST_LINES, show_default=True, help="of an order"
)
def main(orders: int, most_lines: int) -> None:
    """Seed the empty database of LOCKSTEP_MIGRATION_URL, or LOCKSTEP_MYSQL_URL: the user makes temporary tables."""
    try:
        settings = read_settings()
        owner = settings.model_copy(update={"mysql_url": settings.migration_url or settings.mysql_url})
        asyncio.run(seed_with_a_bar(owner, orders, most_lines, Console(stderr=True)))
    except LockstepError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
