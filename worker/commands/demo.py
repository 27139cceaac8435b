"""`lockstep demo`."""

import click


@click.command()
def demo() -> None:
    """Place 2,000 grocery baskets, kill a worker half-way, and audit what is left."""
    click.echo("starting a private database and Redis: about 5 s …")
    from worker.commands.terminal import console  # noqa: PLC0415  # something is shown before it takes its time
    from worker.demo import run  # noqa: PLC0415

    if not run(console):
        raise SystemExit(1)
