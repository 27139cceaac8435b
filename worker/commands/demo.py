"""`lockstep demo`."""

import click

from worker.commands.terminal import console
from worker.demo import run


@click.command()
def demo() -> None:
    """Place 2,000 grocery baskets, kill a worker half-way, and audit what is left."""
    if not run(console):
        raise SystemExit(1)
