"""What a long history costs: `python -m benchmarks.scale --orders 5000000`, about ten minutes and 4 GB of disk.

One private server, two databases with the same catalogue: one has no orders, the other so many. The same baskets are
placed in both in turns, in this process and without a queue, so that nothing but the tables differs.
"""

import asyncio
import json
import os
import random
import shutil
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from benchmarks.placing import WAYS, Figures, compare, new_ids, place, place_beside
from benchmarks.seed import MOST_LINES, SAMPLES, order_id_of, read_orders, seed_with_a_bar, time_of
from jobs.orders.known_orders import find_orders
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Statement, Transaction, load_statements
from worker.catalogue import load_catalogue
from worker.database.migrations import migrate
from worker.database.transactions import Database
from worker.embedded import running_servers
from worker.errors import LockstepError
from worker.settings import Settings

FOLDER: Final = Path(".lockstep/scale")
RESULTS: Final = Path("build/scale/results.json")
GOAL: Final = 1.15  # cost of an order with the history : without
LOOK_UPS: Final = 1000
FEW: Final = 200  # orders, in a round of something that does not last
BUFFER_POOL_MB: Final = 1024
_SCALE = load_statements(str(Path(__file__).with_suffix(".sql")))
_RUN: Final = """
import resource, sys
from worker.cli import main
main(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class Comparison:
    """The two databases, and what is measured on them."""

    def __init__(self, mysql_url: str, orders: int, baskets: list[PlaceOrder], console: Console) -> None:
        self.figures = Figures()
        self._orders = orders
        self._baskets = baskets
        self._console = console
        self._settings = {
            name: Settings(mysql_url=url, redis_url="redis://localhost", statement_seconds=60,
                           transaction_seconds=120, job_seconds=180)
            for name, url in [("seeded", mysql_url), ("empty", f"{mysql_url.rsplit('/', 1)[0]}/lockstep_empty")]
        }  # fmt: skip

    async def run(self, most_lines: int, rounds: int) -> None:
        """All of it. Raises LockstepError where the audit finds anything."""
        for settings in self._settings.values():
            migrate(settings.mysql_url)
        async with AsyncExitStack() as stack:
            databases = {
                name: await stack.enter_async_context(Database(settings))
                for name, settings in self._settings.items()
            }
            seeded = databases["seeded"]
            await _enlarge_memory(seeded)
            started = time.perf_counter()
            await seed_with_a_bar(self._settings["seeded"], self._orders, most_lines, self._console)
            self.figures.add("seeding, seconds", time.perf_counter() - started)
            await load_catalogue(databases["empty"], SAMPLES, progress=lambda _: None, report=_bad_line)
            for database in databases.values():
                await database.transact(_fill_up, job="scale")
            await compare(databases, self._baskets, rounds, self.figures)
            self.figures.add("tables, MB", (await _one(seeded, "table_bytes")) / 2**20)
            await self._look_up(databases)
            await self._keep_up(seeded)

    async def _look_up(self, databases: dict[str, Database]) -> None:
        chance = random.Random(self._orders)  # noqa: S311  # the same orders in every run
        ids = {
            "seeded": [UUID(order_id_of(chance.randrange(self._orders))) for _ in range(LOOK_UPS)],
            "empty": [
                UUID(row["order_id"]) for row in await databases["empty"].fetch(_SCALE["some_orders"], {})
            ],
        }
        for start in range(0, LOOK_UPS, FEW):
            for name, order_ids in ids.items():
                started = time.perf_counter()
                for order_id in order_ids[start : start + FEW]:
                    if not await find_orders(databases[name], [order_id]):
                        raise LockstepError(f"order {order_id} is not there.")
                self.figures.add(f"look-up, {name}", 1000 * (time.perf_counter() - started) / FEW)

    async def _keep_up(self, seeded: Database) -> None:
        part = self._orders // 20
        dates = (f"{time_of(number * part):%Y-%m-%d}" for number in (1, 2, 3))
        await self._command("audit in a hurry", "audit", "--hurry")
        await self._beside(seeded, "audit", "audit")
        await self._beside(seeded, "audit in a hurry", "audit", "--hurry")
        await self._command("purge in a hurry", "purge", "--hurry", "--before", next(dates))
        await self._beside(seeded, "purge", "purge", "--before", next(dates))
        await self._beside(seeded, "purge in a hurry", "purge", "--hurry", "--before", next(dates))
        await self._command("audit", "audit")

    async def _command(self, name: str, *arguments: str) -> None:
        """A command of Lockstep in a process of its own: how long it takes, and its memory."""
        started = time.perf_counter()
        process = await self._start(*arguments)
        output = (await process.communicate())[0].decode()
        if process.returncode:
            raise LockstepError(f"the {name} failed: {output}")
        self.figures.add(f"{name}, seconds", time.perf_counter() - started)
        self.figures.add(f"{name}, MB", int(output.split()[-1]) / 1024)
        said = next(line for line in output.splitlines() if line.startswith(("checked", "purged")))
        self._console.print(f"{name}: {said}", soft_wrap=True)

    async def _beside(self, database: Database, name: str, *arguments: str) -> None:
        process = await self._start(*arguments)
        ended = asyncio.create_task(process.communicate())
        history = partial(_one, database, "history_length")
        few = partial(place, database, self._baskets[:FEW], 1, new_ids())
        await place_beside(process, name, few, history, self.figures)
        await ended

    async def _start(self, *arguments: str) -> Process:
        url = self._settings["seeded"].mysql_url
        environment = {**os.environ, "LOCKSTEP_MYSQL_URL": url, "LOCKSTEP_REDIS_URL": "redis://localhost"}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RUN, *arguments, env=environment, stdout=PIPE, stderr=STDOUT
        )


async def _enlarge_memory(database: Database) -> None:
    """A buffer pool as small shops have it, and a redo log to match."""
    (row,) = await database.fetch(Statement("version", "SELECT VERSION() AS version"), {})
    redo_log = "innodb_log_file_size" if "MariaDB" in row["version"] else "innodb_redo_log_capacity"
    for name in ("innodb_buffer_pool_size", redo_log):
        await database.fetch(Statement("enlarge", f"SET GLOBAL {name} = {BUFFER_POOL_MB * 2**20}"), {})


async def _fill_up(transaction: Transaction) -> None:
    for name in ("restock_all", "fill_stock", "lift_limits"):
        await transaction.execute(_SCALE[name], {})


async def _one(database: Database, name: str) -> int:
    (row,) = await database.fetch(_SCALE[name], {})
    (value,) = row.values()
    return int(value)


def _bad_line(file: str, line: int, problem: str) -> None:
    raise LockstepError(f"{file} is damaged, line {line}: {problem}.")


def report(figures: Figures, console: Console) -> None:
    """A table, and the same for machines."""
    table = Table("", "empty", "with history", "ratio", title="milliseconds an order")
    for way in (*WAYS, "look-up"):
        pair = (f"{way}, seeded", f"{way}, empty")
        table.add_row(
            way,
            f"{figures.median(pair[1]):.2f}",
            f"{figures.median(pair[0]):.2f}",
            f"{figures.ratio(*pair):.2f}",
        )
    console.print(table)
    table = Table(
        "", "alone", "beside", "ratio", "conflicts", "longest undo history", title="one a transaction, beside"
    )
    for name in ("audit", "audit in a hurry", "purge", "purge in a hurry"):
        pair = (f"beside {name}", f"halted {name}")
        table.add_row(
            name, f"{figures.median(pair[1]):.2f}", f"{figures.median(pair[0]):.2f}", f"{figures.ratio(*pair):.2f}",
            f"{figures.median(f'conflicts beside {name}'):.0f}", f"{max(figures.rounds[f'history beside {name}']):,.0f}",
        )  # fmt: skip
    console.print(table)
    for name in figures.rounds:
        if name.endswith((" seconds", " MB")):
            console.print(f"{name}: {figures.median(name):,.1f}", highlight=False)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(figures.rounds, indent=2) + "\n", encoding="utf-8")


@click.command()
@click.option("--orders", type=click.IntRange(100, 100_000_000), default=5_000_000, show_default=True)
@click.option(
    "--most-lines", type=click.IntRange(1, 500), default=MOST_LINES, show_default=True, help="of an old order"
)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option(
    "--baskets", type=click.IntRange(FEW, 2000), default=2000, show_default=True, help="orders a round"
)
def main(orders: int, most_lines: int, rounds: int, baskets: int) -> None:
    """Compare an empty and a long history; exit code 1 if the audit finds anything."""
    console = Console()
    try:
        with running_servers(FOLDER, fresh=True) as servers:
            comparison = Comparison(servers.migration_url, orders, read_orders()[:baskets], console)
            asyncio.run(comparison.run(most_lines, rounds))
        report(comparison.figures, console)
    except LockstepError as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
