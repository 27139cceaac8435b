"""`make arq-suite`: arq's own tests on the worker's pool.

The tests are those of the arq in .venv, from its sdist; each that asks for a pool, or builds one or a Worker itself, gets
worker/queue/paged_redis.py. Exit code 1 if one fails, if too many are left out, or if too few reach the pool.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click

from tests.arq_suite.repeating import repeat
from tests.arq_suite.running import Pool, own_redis, run
from tests.arq_suite.sources import tests_of, tools
from tests.arq_suite.verdict import LEFT_OUT, complaints, facts
from tests.suite.deadline import is_over
from worker.errors import LockstepError

NAMES: Final[dict[Pool, str]] = {"ours": "the worker's pool", "stock": "arq's own pool"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stock", is_flag=True, help="on arq's own pool instead: does a test fail there, too?")
def main(*, stock: bool) -> None:
    """Run arq's own tests on the worker's pool."""
    pool: Pool = "stock" if stock else "ours"
    title = f"arq {version('arq')}'s own tests on {NAMES[pool]}"
    if is_over():
        click.echo(f"{title}: not reached in time")
        return
    try:
        wrong = check(title, tests_of(version("arq")), tools(), pool)
    except LockstepError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(2)  # as pytest
    sys.exit(1 if wrong else 0)


def check(title: str, suite: Path, packages: Path, pool: Pool) -> list[str]:
    """Run the tests and report; what is wrong."""
    left_out = [f"--deselect={test}" for test in LEFT_OUT]
    with own_redis() as url:
        until = os.environ.get("LOCKSTEP_TEST_UNTIL")
        results = run(suite, packages, url, pool, *left_out, until=until)
        results, repeated = repeat(results, lambda test: run(suite, packages, url, pool, test))
    click.echo(f"\n{title}:")
    wrong = list(complaints(results))
    for line in (*facts(results), *repeated, *(f"WRONG: {sentence}" for sentence in wrong)):
        click.echo(f"  {line}")
    if results.failed and pool == "ours":
        click.echo("  Do they fail on arq's own pool, too? .venv/bin/python -m tests.arq_suite --stock")
    return wrong


if __name__ == "__main__":
    main()
