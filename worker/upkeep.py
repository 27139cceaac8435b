"""`lockstep audit` and `lockstep purge`: walks over all orders beside working workers, in small steps with rests."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jobs.orders.audit import Checked, Finding, audit
from jobs.orders.pages import about_how_many_orders, pages_of_orders
from jobs.orders.purge_orders import Purged, find_old_orders, purge_orders
from jobs.transaction import Parameters, Reader, Row, Statement, Transaction
from worker.database.transactions import Database
from worker.errors import LockstepError

KEEP_AT_LEAST: Final = timedelta(weeks=5)  # a job may come again for four weeks, and must find its order then
PAGE: Final = 5_000  # orders that one read looks at
BATCH: Final = 500  # orders that one transaction removes
RESTS: Final = 3  # times as long as a step took: the workers have the server to themselves most of the time
MOST_REST_SECONDS: Final = 1.0  # the server ends idle sessions


class Pace:
    """Goes step by step, and rests after each, unless it is in a hurry."""

    def __init__(self, *, hurry: bool) -> None:
        self._rests = 0 if hurry else RESTS

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """A rest follows the block. A busy server makes a step longer, and so the rest."""
        started = time.monotonic()
        yield
        await asyncio.sleep(min(self._rests * (time.monotonic() - started), MOST_REST_SECONDS))

    def reader(self, reader: Reader) -> Reader:
        """The same reader, one step a read."""
        return _PacedReader(reader, self)


class _PacedReader:
    def __init__(self, reader: Reader, pace: Pace) -> None:
        self._reader = reader
        self._pace = pace

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        async with self._pace.step():
            return await self._reader.fetch(statement, parameters)


async def audit_with_a_bar(database: Database, pace: Pace, console: Console) -> list[Finding]:
    """What the audit finds; the console is told how far it is, and at the end how much was checked."""
    checked, started = Checked(), time.monotonic()
    with _bar(console, "audit", await about_how_many_orders(database)) as show:

        def report(so_far: Checked) -> None:
            nonlocal checked
            checked = so_far
            show(so_far.orders)

        async def work(transaction: Transaction) -> list[Finding]:
            return await audit(pace.reader(transaction), report)

        findings = await database.transact(work, job="audit")
    console.print(
        f"checked {checked.orders:,} orders, {checked.lines:,} lines, {checked.products:,} products,"
        f" {checked.customers:,} customers, {checked.restocks:,} restocks in {time.monotonic() - started:.1f} s",
        soft_wrap=True,
    )
    return findings


async def purge_with_a_bar(database: Database, before: datetime, pace: Pace, console: Console) -> Purged:
    """Remove finished orders that were placed and recorded before a time; say what was done, also when interrupted.

    It may end at any moment, and be run again. Raises LockstepError where the time is less than `KEEP_AT_LEAST` ago.
    """
    if before > (latest := datetime.now(UTC) - KEEP_AT_LEAST):
        raise LockstepError(
            "orders are kept for five weeks, since a job may come again until then:"
            f" name a date up to {latest:%Y-%m-%d}."
        )
    purged, started = Purged(), time.monotonic()
    try:
        with _bar(console, "purge", await about_how_many_orders(database)) as show:
            await _purge(database, f"{before:%Y-%m-%d %H:%M:%S}", pace, purged, show)
    finally:
        console.print(
            f"purged {purged.orders:,} orders, {purged.lines:,} lines"
            f" in {time.monotonic() - started:.1f} s;"
            f" kept {purged.kept:,} old orders that are neither shipped nor cancelled,"
            f" {purged.unpublished:,} with events that are not published yet, and {purged.buried:,} with dead letters",
            soft_wrap=True,
        )
    return purged


async def _purge(
    database: Database, before: str, pace: Pace, purged: Purged, show: Callable[[int], None]
) -> None:
    seen, reader = 0, pace.reader(database)
    async for page in pages_of_orders(reader, PAGE):
        old = await find_old_orders(reader, page, before)
        for start in range(0, len(old.finished), BATCH):
            batch = old.finished[start : start + BATCH]
            async with pace.step():
                purged += await database.transact(partial(purge_orders, order_ids=batch), job="purge_orders")
                show(seen + start + len(batch))
        purged.kept += old.kept
        show(seen := seen + page.orders)


@contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """The function that moves it; the total is an estimate."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda done: progress.update(bar, completed=done, total=max(total, done))
        progress.update(bar, total=progress.tasks[bar].completed)
