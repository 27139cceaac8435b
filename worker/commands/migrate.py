"""`lockstep migrate`."""

import click

from worker.database import migrations
from worker.settings import read_settings


@click.command()
def migrate() -> None:
    """Create the tables, or bring them up to date."""
    settings = read_settings()
    said = migrations.migrate(settings.migration_url or settings.mysql_url)
    click.echo(said or "the tables are up to date")
