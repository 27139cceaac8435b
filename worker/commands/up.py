"""`lockstep up`."""

import click


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def up(port: int) -> None:
    """Run a private database, Redis, one worker and the web here, until Ctrl-C."""
    click.echo("starting a private database and Redis: about 5 s …")
    from worker.commands.terminal import console  # noqa: PLC0415  # something is shown before it takes its time
    from worker.up import run  # noqa: PLC0415

    run(console, port)
