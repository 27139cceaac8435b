"""What a deep backlog costs: `python -m benchmarks.backlog --orders 1000000`, four minutes, 2 GB of memory and of disk.

A queue of so many orders and one of 10,000, in two databases of one private Redis. Each is filled up before a crew of
two workers gets it, and the shop is new; a crew that has emptied the small one gets it filled again.
"""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from itertools import product
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import SAMPLES, WORKER
from benchmarks.arena import Size, open_arena
from benchmarks.backlog_turns import Backlog, Turn
from benchmarks.contestants import CHUNK
from benchmarks.crews import ROOT, Crew
from benchmarks.loads import read_baskets, repeated
from benchmarks.machine import describe
from worker.database.migrations import migrate
from worker.embedded import Servers, running_servers
from worker.errors import LockstepError
from worker.processes import interrupt_on_signals

FOLDER: Final = ROOT / ".lockstep" / "backlog"
RESULTS: Final = ROOT / "build" / "bench" / "backlog.json"
FEW: Final = 10_000  # orders of a backlog that is not deep
SINGLE, BULK = (0, 1), (2, 3)  # backlogs, and their numbers in Redis: the deep one and the small one
TURNS: Final = ((WORKER, SINGLE), (WORKER, BULK))
MOST: Final = 10**9  # orders that a queue ever gets


async def measure(
    servers: Servers, orders: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """The deep backlog and the small one in turns."""
    found, turns, size = read_baskets(SAMPLES), list[Turn](), Size(SAMPLES, 1, orders, 0, 0)
    async with AsyncExitStack() as stack:
        backlogs = [
            Backlog(
                await stack.enter_async_context(open_arena(in_redis(servers, number), FOLDER, size)),
                depth, chunk, repeated(found, MOST),
            )
            for number, (chunk, depth) in enumerate(product((1, CHUNK), (orders, FEW)))
        ]  # fmt: skip
        arena = backlogs[0].arena
        about = await describe(arena.database, arena.queue)
        # Redis would rewrite its file in the middle of a turn.
        await arena.queue.config_set("auto-aof-rewrite-percentage", 0)
        for command, numbers in TURNS:
            turns += [await backlogs[number].work(Crew(command, 2), seconds, say) for number in numbers]
    return {"about": about, "turns": turns}


def in_redis(servers: Servers, number: int) -> Servers:
    """The same servers, and another database of Redis."""
    return replace(servers, redis_url=f"{servers.redis_url.rpartition('/')[0]}/{number}")


def draw(turns: Sequence[Turn]) -> Table:
    """A row a crew and kind of job."""
    few, deep = f"{FEW:,}", f"{max(turn.size for turn in turns):,}"
    table = Table(
        "two workers", "orders a job", few, deep, f"{few} : {deep}", "peak MB, each", "Redis, bytes an order",
        title="orders/s, by the length of the backlog",
    )  # fmt: skip
    for full, small in zip(turns[::2], turns[1::2], strict=True):
        table.add_row(
            small.command, str(small.chunk), f"{small.rate:,.0f}", f"{full.rate:,.0f}",
            f"{small.rate / full.rate:.2f}", f"{small.peak_mb:.0f}, {full.peak_mb:.0f}", f"{full.bytes_an_order:,.0f}",
        )  # fmt: skip
    return table


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--orders", type=click.IntRange(min=FEW), default=1_000_000, help="in the deep backlog")
@click.option("--seconds", type=click.FloatRange(min=1), default=20.0, help="of a turn")
def main(orders: int, seconds: float) -> None:
    """Compare a deep backlog and a small one; exit code 1 where an order was lost or the audit found something."""
    interrupt_on_signals()
    console = Console(highlight=False)
    try:
        with (
            console.status("starting a private database and Redis") as status,
            running_servers(FOLDER, fresh=True) as servers,
        ):
            migrate(servers.migration_url)
            results = asyncio.run(measure(servers, orders, seconds, status.update))
    except LockstepError as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    console.print(draw(results["turns"]))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results["turns"] = [asdict(turn) for turn in results["turns"]]
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    console.print(str(RESULTS), soft_wrap=True)


if __name__ == "__main__":
    main()
