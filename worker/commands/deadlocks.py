"""`lockstep deadlocks`."""

import asyncio
import json
from pathlib import Path

import click

from worker.database.deadlock_picture import draw
from worker.database.deadlock_words import as_text, to_json
from worker.database.deadlocks import NONE_YET, Explanation, add_survivors, explain_latest
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.settings import read_settings


@click.command()
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), help="draw who waits for whom into FILE"
)
@click.option("--json", "as_json", is_flag=True, help="print it for machines; null if there was none")
def deadlocks(svg: Path | None, *, as_json: bool) -> None:
    """Explain the latest deadlock of the server: who held what, who waited, what prevents it."""
    explanation = asyncio.run(_explain_latest_deadlock())
    if as_json:
        click.echo(json.dumps(explanation and to_json(explanation), indent=2))
    else:
        click.echo(as_text(explanation) if explanation else NONE_YET)
    if svg and explanation:
        try:
            svg.write_text(draw(explanation), encoding="utf-8")
        except OSError as error:
            raise LockstepError(f"{svg} cannot be written: {error.strerror}.") from error


async def _explain_latest_deadlock() -> Explanation | None:
    async with Database(read_settings()) as database:
        explanation = await explain_latest(database)
        return explanation and await add_survivors(database, explanation)
