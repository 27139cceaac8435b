"""`lockstep worker`."""

import click

from worker.settings import read_settings
from worker.supervisor import supervise


@click.command()
@click.option(
    "--processes", type=click.IntRange(1), help="so many workers, each started again where it ends by itself"
)
@click.option(
    "--supervised", is_flag=True, hidden=True, help="what --processes starts: it ends with standard input"
)
def worker(processes: int | None, *, supervised: bool) -> None:
    """Run a worker in the foreground: `arq worker.main`, or several of them, supervised."""
    if processes:
        raise SystemExit(supervise(processes, read_settings()))
    from worker import main as arq_settings  # noqa: PLC0415  # importing it reads the settings

    arq_settings.run(supervised=supervised)
