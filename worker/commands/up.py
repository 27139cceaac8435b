"""`lockstep up`."""

import click

from worker.commands.terminal import console
from worker.up import run


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def up(port: int) -> None:
    """Run a private database, Redis, one worker and the web here, until Ctrl-C."""
    run(console, port)
