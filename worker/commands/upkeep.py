"""`lockstep audit` and `lockstep purge`."""

from datetime import UTC, datetime
from typing import Final

import click

from jobs.dead_letters import count_dead_letters
from jobs.orders.audit import Finding
from worker.commands.database import on_database
from worker.commands.terminal import console, problems
from worker.database.transactions import Database
from worker.report import print_findings
from worker.settings import WHOLE_TABLES
from worker.upkeep import Pace, audit_with_a_bar, purge_with_a_bar

_hurry: Final = click.option("--hurry", is_flag=True, help="take no rests: faster, but the workers notice")


@click.command()
@_hurry
def audit(*, hurry: bool) -> None:
    """Check every invariant of the tables, in one snapshot; exit code 1 if one is broken."""
    pace = Pace(hurry=hurry)

    async def check(database: Database) -> tuple[list[Finding], int]:
        return await audit_with_a_bar(database, pace, problems), await count_dead_letters(database)

    findings, letters = on_database(check, **WHOLE_TABLES)
    print_findings(console, findings)
    if letters:
        problems.print(f"{letters:,} dead letters wait for somebody: `lockstep dead list`")
    if any(finding.violations for finding in findings):
        raise SystemExit(1)


@click.command()
@click.option(
    "--before", type=click.DateTime(["%Y-%m-%d"]), required=True, help="five weeks ago or more; UTC"
)
@_hurry
def purge(before: datetime, *, hurry: bool) -> None:
    """Remove shipped, cancelled and rejected orders that were placed and recorded before a date."""
    moment, pace = before.replace(tzinfo=UTC), Pace(hurry=hurry)
    on_database(lambda database: purge_with_a_bar(database, moment, pace, console))
