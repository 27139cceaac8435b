"""`python -m benchmarks`: measure everything in some rounds, and print one table."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from benchmarks.arena import Size, open_arena
from benchmarks.contestant import Contestant
from benchmarks.contestants import contestants
from benchmarks.crews import ROOT
from benchmarks.figures import Run
from benchmarks.machine import describe
from benchmarks.report import draw_tables, write_files
from benchmarks.rounds import run_rounds
from worker.database.migrations import migrate
from worker.embedded import running_servers
from worker.errors import LockstepError
from worker.processes import interrupt_on_signals

FOLDER: Final = ROOT / ".lockstep" / "bench"
SAMPLES: Final = ROOT / "samples" / "journey"
WORKER: Final = "python -m arq worker.main"
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)
_DATA: Final = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", type=click.IntRange(min=1), default=3, help="how often each is measured")
@click.option(
    "--orders", type=click.IntRange(min=1), default=2000, help="of the slowest; the others place more"
)
@click.option("--path", type=_DATA, default=SAMPLES, help="of orders, products and customers")
@click.option("--only", multiple=True, metavar="NAME", help="those whose name begins so; may be repeated")
@click.option("--worker", default=WORKER, help="the command that starts a worker of Lockstep")
@click.option(
    "--against",
    type=_DATA,
    help="a checkout of an earlier commit with its own .venv, measured in turns with this one",
)
@click.option("--output", type=_FOLDER, default=ROOT / "build" / "bench", help="where the results go")
@click.option("--quick", is_flag=True, help="one round of few orders, to see that all of it works")
def main(  # noqa: PLR0913, PLR0917  # an argument an option
    rounds: int,
    orders: int,
    path: Path,
    only: tuple[str, ...],
    worker: str,
    against: Path | None,
    output: Path,
    *,
    quick: bool,
) -> None:
    """Measure Lockstep beside a reference worker, its own SQL alone, and arq alone.

    Exit code 1 where an order was lost or the audit found something. A goal that is missed is only shown.
    """
    if against and not (against / ".venv" / "bin" / "python").exists():
        raise click.UsageError(f"{against} has no virtual environment: run `make setup` there.")
    everyone = contestants(worker, against and against.resolve())
    taking_part = [one for one in everyone if not only or one.name.startswith(only)]
    if not taking_part:
        raise click.UsageError(f"choose from {', '.join(one.name for one in everyone)}")
    size = Size(path, 1, 200, 2.0, 1.0, 3.0) if quick else Size(path, rounds, orders, 15.0, 5.0, 45.0)
    interrupt_on_signals()
    console = Console(highlight=False)
    with console.status("starting a private database and Redis") as status:
        try:
            run = _run(taking_part, size, worker, status.update)
        except LockstepError as error:
            raise click.ClickException(str(error)) from error
    run.about["against"] = str(against or "")
    for table in draw_tables(run):
        console.print(table, "")
    for written in write_files(run, output):
        console.print(str(written), soft_wrap=True)
    if run.failures:
        raise SystemExit(1)


def _run(taking_part: Sequence[Contestant], size: Size, worker: str, say: Callable[[str], None]) -> Run:
    async def measure() -> Run:
        async with open_arena(servers, FOLDER, size) as arena:
            about = await describe(arena.database, arena.queue)
            run = Run(worker, {"rounds": size.rounds, "orders": size.orders, **about})
            await run_rounds(arena, taking_part, run, say)
        return run

    with running_servers(FOLDER, fresh=True) as servers:
        migrate(servers.migration_url)
        return asyncio.run(measure())


if __name__ == "__main__":
    main()
