"""`python -m tests.soak`: orders under faults, then every check.

It lies beside the tests and not beside the benchmarks: it proves and does not measure, and it uses their doors and
sessions, which no benchmark may import.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from shutil import which
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal
from typing import Final

import click
from rich.console import Console

from benchmarks.crews import ROOT
from tests.soak import history, report
from tests.soak.picture import draw
from tests.soak.soak import Result, soak
from worker.database.migrations import migrate
from worker.embedded import Servers, running_servers
from worker.errors import LockstepError
from worker.processes import interrupt_on_signals
from worker.report import print_findings

FOLDER: Final = ROOT / ".lockstep" / "soak"
_OUTPUT: Final = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--seconds", type=click.IntRange(min=10), default=600, help="how long faults are injected")
@click.option("--seed", type=int, help="of all that is random; printed where it is not given")
@click.option("--output", type=_OUTPUT, default=ROOT / "build" / "soak", help="where the results go")
def main(seconds: int, seed: int | None, output: Path) -> None:
    """Place baskets through three workers while everything around them fails; exit code 1 if a promise is broken."""
    if not which("setpriv"):
        raise click.ClickException("the soak needs Linux, and setpriv of the package util-linux: install it.")
    seed = SystemRandom().randrange(10_000) if seed is None else seed
    interrupt_on_signals()
    console = Console(highlight=False)
    console.print(f"seed {seed}, {seconds} s")
    with console.status("starting a private database and Redis") as status:
        try:
            with running_servers(FOLDER, fresh=True) as servers:
                migrate(servers.migration_url)
                result = asyncio.run(_interruptible(servers, seed, seconds, status.update))
        except LockstepError as error:
            raise click.ClickException(str(error)) from error
        except asyncio.CancelledError:
            raise click.Abort from None
    _write(result, output)
    console.print(report.draw_table(result))
    print_findings(console, result.findings)
    console.print(f"{output / 'results.json'}\n{output / 'soak.svg'}", soft_wrap=True)
    if any(finding.violations for finding in result.findings):
        raise SystemExit(1)


async def _interruptible(servers: Servers, seed: int, seconds: float, say: Callable[[str], None]) -> Result:
    work = asyncio.current_task()
    assert work
    for number in (SIGINT, SIGTERM, SIGHUP):
        if getsignal(number) != SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    return await soak(servers, FOLDER, seed, seconds, say)


def _write(result: Result, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(
        json.dumps(report.to_json(result), indent=2) + "\n", encoding="utf-8"
    )
    (output / "soak.svg").write_text(draw(result), encoding="utf-8")
    with (output / "history.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(history.to_json(asked)) + "\n" for asked in result.history)


if __name__ == "__main__":
    main()
