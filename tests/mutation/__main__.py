"""`python -m tests.mutation`: do the tests find faults? README.md beside this file says how to ask."""

import signal
from collections import Counter
from pathlib import Path
from typing import NoReturn

import click

from tests.mutation.draw import FAULTS, draw, enumerate_mutants, read_coverage, read_faults, write_faults
from tests.mutation.edits import Fault, MovedError
from tests.mutation.plant import LOGS, ChangedError, Result, try_fault

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN = 5  # a fault in a central place fails hundreds


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Mutants of worker/, jobs/ and sql/ in the current folder."""


@main.command("draw")
@click.option("--seed", type=int, required=True, help="the same one draws the same faults")
@click.option("--count", type=click.IntRange(min=1), default=30, help="how many")
@click.option("--coverage", type=_FILE, required=True, help="the .coverage of a run on this very commit")
def draw_command(seed: int, count: int, coverage: Path) -> None:
    """Draw faults from all mutants of covered lines, and write them to tests/mutation/faults.json."""
    mutants = enumerate_mutants(Path(), read_coverage(coverage))
    if count > len(mutants):
        raise click.ClickException(f"there are only {len(mutants)} mutants: is {coverage} of this commit?")
    faults = draw(Path(), mutants, seed, count)
    write_faults(FAULTS, faults)
    click.echo(f"seed {seed}: {count} of {len(mutants)} mutants")
    for operator, many in Counter(edit.operator for _, edit in mutants).most_common():
        click.echo(f"{many:6} {operator}")
    for fault in faults:
        click.echo(_describe(fault))


@main.command("run", context_settings={"ignore_unknown_options": True})
@click.option("--only", type=int, multiple=True, help="the number of a fault; may be given again")
@click.option("--limit", type=click.FloatRange(min=1), default=3600, help="longest run of the command, in s")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(only: tuple[int, ...], limit: float, command: tuple[str, ...]) -> None:
    """Run COMMAND with one fault after the other; exit code 1 if one could not be tried."""
    for ending in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # the file has to be restored, also if a shell has us ignore one
        signal.signal(ending, _interrupt)
    outcomes: Counter[str] = Counter()
    for fault in read_faults(FAULTS):
        if not only or fault.number in only:
            click.echo(_describe(fault))
            try:
                verdict, text = _verdict(try_fault(Path(), fault, command, limit))
            except (MovedError, ChangedError) as error:
                verdict, text = "not tried", str(error)
            outcomes[verdict] += 1
            click.echo(f"    {verdict}{text and ': '}{text}")
    click.echo(", ".join(f"{many} {verdict}" for verdict, many in outcomes.items()))
    if outcomes["not tried"]:
        raise SystemExit(1)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _describe(fault: Fault) -> str:
    lines = [f"  - {line}" for line in fault.before.split("\n")]
    lines += [f"  + {line}" for line in fault.after.split("\n")]
    return "\n".join([f"{fault.number}. {fault.path}:{fault.line}: {fault.operator}", *lines])


def _verdict(result: Result) -> tuple[str, str]:
    if result.status == 0:
        return "survived", f"{result.seconds:.1f} s"
    why = result.failed[:_SHOWN]
    if more := len(result.failed) - len(why):
        why.append(f"and {more} more")
    if result.status is None:
        why.append("the time limit was reached")
    elif not why:
        why.append(f"exit code {result.status}, and no test named: see {LOGS}")
    return "found", "\n      ".join([f"{result.seconds:.1f} s", *why])


if __name__ == "__main__":
    main()
