"""`lockstep dead`: look at the jobs that nobody could run, and run or drop them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.dead_letters import DeadLetter
from worker.database.migrations import check_ready
from worker.database.transactions import Database
from worker.errors import LockstepError, printable
from worker.queue.replay import Replay, stays_dead
from worker.settings import read_settings

OUTCOME_SECONDS: Final = 30.0
Answer = TypeVar("Answer")
console: Final = Console(highlight=False, soft_wrap=True)
_json: Final = click.option("--json", "as_json", is_flag=True, help="print it for machines")


@click.group()
def dead() -> None:
    """Jobs that nobody could run: list, show, replay or drop them."""


@dead.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="so many of the oldest")
@_json
def list_letters(limit: int, *, as_json: bool) -> None:
    """The letters, the oldest first, without their requests."""

    async def look(replay: Replay) -> tuple[list[DeadLetter], int]:
        return await replay.letters.oldest(limit), await replay.letters.count()

    letters, count = _run(look)
    if as_json:
        click.echo(json.dumps([_fields(letter, without={"request"}) for letter in letters], indent=2))
        return
    if not letters:
        console.print("there are no dead letters")
        return
    table = Table("job id", "job", "buried (UTC)", "tries", "error", box=None, pad_edge=False)
    for letter in letters:
        buried = f"{letter.buried_at:%Y-%m-%d %H:%M:%S}"
        cells = (printable(letter.job_id), letter.job, buried, str(letter.tries))
        table.add_row(*map(Text, cells), Text(letter.error, overflow="fold"))
    Console(highlight=False).print(table)
    console.print(f"{count:,} dead letters" + (f", {len(letters):,} shown" if len(letters) < count else ""))


@dead.command()
@click.argument("job_id")
@_json
def show(job_id: str, *, as_json: bool) -> None:
    """The letters of JOB_ID, with their requests: of an order that was in a bulk job, JOB_ID is the order's id."""
    letters = _run(lambda replay: _of(replay, job_id))
    if as_json:
        click.echo(json.dumps([_fields(letter) for letter in letters], indent=2))
        return
    for letter in letters:
        for name, value in _fields(letter).items():
            console.print(f"{name:<12} {json.dumps(value, indent=2)}", markup=False)


@dead.command()
@click.argument("job_id", required=False)
@click.option("--all", "everything", is_flag=True, help="all letters, in place of one")
def replay(job_id: str | None, *, everything: bool) -> None:
    """Run the jobs again, and wait for their outcomes; exit code 1 if one is dead again. May be repeated."""
    if (job_id is None) is not everything:
        raise click.UsageError("name a job id, or give --all.")

    async def run(replay: Replay) -> list[Any]:
        if job_id is not None:
            return await _replay(replay, await _of(replay, job_id))
        outcomes: list[Any] = []
        async for page in replay.letters.job_ids():
            jobs = [await replay.letters.of(job_id) for job_id in page]
            for some in await asyncio.gather(*(_replay(replay, letters) for letters in jobs)):
                outcomes += some
        return outcomes

    outcomes = _run(run)
    again = sum(map(stays_dead, outcomes))
    console.print(f"{len(outcomes) - again:,} replayed, {again:,} dead again")
    if again:
        raise SystemExit(1)


@dead.command()
@click.argument("job_id")
def drop(job_id: str) -> None:
    """Remove the letters of JOB_ID for good, and print them."""

    async def remove(replay: Replay) -> list[DeadLetter]:
        letters = await _of(replay, job_id)
        for letter in letters:
            await replay.letters.remove(letter)
        return letters

    for letter in _run(remove):
        click.echo(f"dropped: {json.dumps(_fields(letter))}")


async def _replay(replay: Replay, letters: Iterable[DeadLetter]) -> list[Any]:
    """The outcomes of the letters of one job id, one after the other."""
    outcomes = []
    for letter in letters:
        try:
            async with asyncio.timeout(OUTCOME_SECONDS):
                outcomes.append(await replay.run(letter))
        except TimeoutError:
            raise LockstepError(
                f"{letter.job} {printable(letter.job_id)} has no outcome after {OUTCOME_SECONDS:g} s and stays queued, and its"
                " letter is kept: is a worker running? To replay it again is safe."
            ) from None
        click.echo(f"{printable(letter.job_id)}: {json.dumps(outcomes[-1])}")
    return outcomes


async def _of(replay: Replay, job_id: str) -> list[DeadLetter]:
    if letters := await replay.letters.of(job_id):
        return letters
    raise LockstepError(
        f"there is no dead letter of {printable(job_id)}; `lockstep dead list` shows those that are."
    )


def _fields(letter: DeadLetter, without: set[str] | None = None) -> dict[str, Any]:
    return letter.model_dump(mode="json", exclude=without)


def _run(work: Callable[[Replay], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        settings = read_settings()
        async with Database(settings) as database:
            await check_ready(database)
            async with Replay.connect(database, settings.redis_url, settings.queue_name) as replay:
                return await work(replay)

    return asyncio.run(run())
