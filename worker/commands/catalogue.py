"""`lockstep catalogue`."""

from pathlib import Path

import click

from worker.catalogue import load_catalogue
from worker.commands.database import on_database
from worker.commands.terminal import console, progress_of_files, report_bad_line


@click.group()
def catalogue() -> None:
    """Products and customers."""


@catalogue.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def load(folder: Path) -> None:
    """Add what is missing of FOLDER/products.csv[.gz] and customers.csv[.gz]."""
    with progress_of_files() as show:
        parts = on_database(
            lambda database: load_catalogue(database, folder, progress=show, report=report_bad_line)
        )
    for part in parts:
        console.print(f"{part.kind}: {part.new:,} new, {part.known:,} known already, {part.bad:,} bad lines")
    if any(part.bad for part in parts):
        raise SystemExit(1)
