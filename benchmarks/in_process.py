"""What placing costs without a queue: `python -m benchmarks.in_process`, under two minutes.

In one process: the statements as they are, one batch at a time and two, and the three INSERTs written as rows of
literals instead of one JSON parameter each.
"""

import asyncio
import gc
import json
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import click
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import FOLDER, SAMPLES
from benchmarks.arena import Arena, Size, open_arena
from benchmarks.crews import ROOT
from benchmarks.literals import LiteralDatabase
from benchmarks.loads import baskets, read_baskets, repeated
from benchmarks.machine import describe
from benchmarks.placing import Figures
from jobs.orders.requests import PlaceOrder
from worker.database.migrations import migrate
from worker.database.transactions import Database
from worker.embedded import running_servers
from worker.errors import LockstepError
from worker.processes import interrupt_on_signals
from worker.queue.idempotency import place_once
from worker.settings import Settings

RESULTS: Final = ROOT / "build" / "bench" / "in_process.json"
BATCHES: Final = (1, 16, 128, 300, 500)
FEW: Final = 400  # orders of a turn where each has its own COMMIT


class Way(NamedTuple):
    """How batches are placed."""

    name: str
    database: type[Database]
    at_once: int


WAYS: Final = (Way("one", Database, 1), Way("two at once", Database, 2), Way("literals", LiteralDatabase, 1))


async def rate(database: Database, orders: Sequence[PlaceOrder], batch: int, at_once: int) -> float:
    """Orders a second."""
    batches = iter([orders[start : start + batch] for start in range(0, len(orders), batch)])

    async def work() -> None:
        for part in batches:
            await place_once(database, part, job="bench")

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return len(orders) / (time.perf_counter() - begin)


async def measure(arena: Arena, say: Callable[[str], None]) -> Figures:
    """Every way at every size of a batch, in turns. Raises LockstepError unless every order has one outcome."""
    figures = Figures()
    found = read_baskets(arena.size.data)
    settings = Settings(mysql_url=arena.servers.mysql_url, redis_url=arena.servers.redis_url)
    for number in range(arena.size.rounds):
        for batch in BATCHES:
            for way in WAYS[:: -1 if number % 2 else 1]:
                say(f"round {number + 1} of {arena.size.rounds}: batches of {batch}, {way.name}")
                load = baskets(arena.size.data, min(arena.size.orders, FEW * batch))
                await arena.prepare(load)
                orders = list(repeated(found, len(load.orders)))  # new ones: an order keeps its fingerprint
                async with way.database(settings) as database:
                    figures.add(f"{way.name}, {batch}", await rate(database, orders, batch, way.at_once))
                await arena.check(load)
    return figures


def draw(figures: Figures) -> Table:
    """A row a size."""
    one, two, literals = (way.name for way in WAYS)
    table = Table("batch", f"(a) {one}", f"(b) {two}", f"(c) {literals}", "b/a", "c/a", title="orders/s")
    for batch in BATCHES:
        speeds = [f"{figures.median(f'{way.name}, {batch}'):,.0f}" for way in WAYS]
        ratios = [f"{figures.ratio(f'{way}, {batch}', f'{one}, {batch}'):.2f}" for way in (two, literals)]
        table.add_row(str(batch), *speeds, *ratios)
    return table


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="how often each is measured")
@click.option(
    "--orders", type=click.IntRange(min=500), default=3000, help="of a turn; small batches place fewer"
)
def main(rounds: int, orders: int) -> None:
    """Place real baskets in this process; exit code 1 where an order was lost or the audit found something."""
    interrupt_on_signals()
    gc.set_threshold(20_000, 20, 20)  # as worker/main.py does
    console = Console(highlight=False)

    async def run(say: Callable[[str], None]) -> tuple[dict[str, str], Figures]:
        async with open_arena(servers, FOLDER, Size(SAMPLES, rounds, orders, 0, 0)) as arena:
            return await describe(arena.database, arena.queue), await measure(arena, say)

    try:
        with (
            console.status("starting a private database") as status,
            running_servers(FOLDER, fresh=True) as servers,
        ):
            migrate(servers.migration_url)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                about, figures = runner.run(run(status.update))
    except LockstepError as error:
        raise click.ClickException(str(error)) from error
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(
        json.dumps({"about": about, "orders_per_second": figures.rounds}, indent=2) + "\n", encoding="utf-8"
    )
    console.print(draw(figures))
    console.print(str(RESULTS), soft_wrap=True)


if __name__ == "__main__":
    main()
