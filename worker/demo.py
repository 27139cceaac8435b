"""`lockstep demo`: grocery baskets through two workers, one of them killed half-way, then the audit."""

import asyncio
import os
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.orders.audit import Finding, audit
from jobs.orders.requests import PlaceOrder
from jobs.outbox import next_events
from jobs.transaction import load_statements
from worker.catalogue import SAMPLES, load_catalogue
from worker.client import OrderClient
from worker.database.migrations import migrate
from worker.database.transactions import Database
from worker.embedded import Servers, running_servers
from worker.errors import LockstepError
from worker.files import open_source, read_json_lines
from worker.processes import interrupt_on_signals, start_worker, stopped_at_the_end
from worker.queue.claims import claimed_by
from worker.queue.connection import open_queue
from worker.queue.event_stream import count_first_events
from worker.queue.wire import Timing, read_timings
from worker.report import print_findings
from worker.settings import PREFIX, TEST_PREFIX, WHOLE_TABLES, Settings

FOLDER: Final = Path(".lockstep/demo")
PATIENCE_SECONDS: Final = 120
LOOK_SECONDS: Final = 0.1
LINE_SECONDS: Final = 10.0
MOMENT_SECONDS: Final = 0.005
_COUNT_OUTCOMES = load_statements("orders/orders.sql")["count_outcomes"]


@dataclass(frozen=True, slots=True)
class Result:
    """What the summary tells."""

    outcomes: Counter[str]
    seconds: float
    timings: Sequence[Timing]
    conflicts: int
    killed_at: float
    published: int
    findings: Sequence[Finding]


class Workers:
    """The worker processes of the demo, their logs in files of their own."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """One more `arq worker.main`."""
        with self._log(len(self.processes)).open("wb") as log:
            self.processes.append(
                start_worker(self._servers, "arq", "worker.main", log=log, log_format="json")
            )

    async def kill_first(
        self, claimed_by: Callable[[int], Awaitable[set[str]]], queued: Callable[[], Awaitable[int]]
    ) -> None:
        """SIGKILL the first in the midst of its jobs: it can neither finish nor say goodbye."""
        first = self.processes[0]
        while await queued():
            first.send_signal(signal.SIGSTOP)
            # What it has sent to Redis just before may be done after the first look, and be done by the second.
            if await claimed_by(first.pid) and await claimed_by(first.pid):
                break
            first.send_signal(signal.SIGCONT)
            await asyncio.sleep(MOMENT_SECONDS)
        first.kill()

    def check_alive(self, expected: int) -> None:
        """Raise LockstepError where fewer than `expected` of them run."""
        if sum(process.poll() is None for process in self.processes) < expected:
            raise LockstepError(f"a worker has ended by itself: see {FOLDER}/worker-*.log.")

    def conflicts(self) -> int:
        """How many conflicts they have logged, each of which was tried again."""
        logs = (self._log(number) for number in range(len(self.processes)))
        return sum(log.read_bytes().count(b'"event": "conflict"') for log in logs)

    @staticmethod
    def _log(number: int) -> Path:
        return FOLDER / f"worker-{number + 1}.log"


def run(console: Console) -> bool:
    """Show all of it; True if every order has its outcome and the audit holds."""
    if not SAMPLES.is_dir():
        raise LockstepError(f"the demo needs the orders of a checkout: there is no {SAMPLES}.")
    for name in [name for name in os.environ if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX)]:
        del os.environ[name]  # of other servers, and of no use here
    interrupt_on_signals()
    with ExitStack() as stack:
        servers = stack.enter_context(running_servers(FOLDER, fresh=True))
        console.print("making its tables, and loading the catalogue …")
        migrate(servers.migration_url)
        workers = Workers(servers)
        stack.enter_context(stopped_at_the_end(workers.processes))
        result = asyncio.run(_place_all(console, servers, workers))
    _print_summary(console, result)
    all_told = result.published == result.outcomes.total()
    return all_told and not any(finding.violations for finding in result.findings)


async def _place_all(console: Console, servers: Servers, workers: Workers) -> Result:
    settings = Settings(mysql_url=servers.mysql_url, redis_url=servers.redis_url).model_copy(
        update=WHOLE_TABLES
    )
    with open_source(str(SAMPLES / "orders.jsonl.gz")) as source:
        orders = list(read_json_lines(source, PlaceOrder, _no_bad_line))
    async with Database(settings) as database, OrderClient.connect(servers.redis_url) as client:
        loaded = await load_catalogue(
            database,
            SAMPLES,
            progress=lambda _: None,
            report=lambda _, line, problem: _no_bad_line(line, problem),
        )
        console.print(
            ", ".join(f"{part.new:,} {part.kind}" for part in loaded) + f", {len(orders):,} orders to place"
        )
        workers.start()
        workers.start()
        console.print("two workers start: `arq worker.main`; one is killed half-way")
        redis = await open_queue(servers.redis_url, settings.queue_name)
        started = time.time()
        kill = partial(workers.kill_first, partial(claimed_by, redis), client.queued)
        killed_at, _ = await asyncio.gather(
            _watch(console, database, workers, kill, len(orders)), _enqueue(client, orders)
        )
        while await client.queued():
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.time() - started
        while await next_events(database, after=0, size=1):
            await asyncio.sleep(LOOK_SECONDS)
        timings = await read_timings(redis, [str(order.order_id) for order in orders])
        published = await count_first_events(redis, settings.events_stream)
        await redis.aclose()
        findings = await database.transact(audit, job="audit")
        outcomes = await _count(database)
    return Result(outcomes, seconds, timings, workers.conflicts(), killed_at, published, findings)


async def _enqueue(client: OrderClient, orders: Sequence[PlaceOrder]) -> None:
    async for _ in client.place_many(orders, chunk=1):
        pass


async def _watch(
    console: Console, database: Database, workers: Workers, kill: Callable[[], Awaitable[None]], total: int
) -> float:
    """Show the progress, kill a worker half-way and start another; when that was."""
    killed_at, started, working_seconds, done = 0.0, time.monotonic(), 0.0, 0
    columns = (BarColumn(bar_width=16), TimeElapsedColumn(), TextColumn("{task.description}"))
    show_line = _lines_without_a_bar(console)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=total)
        while not progress.finished:
            if time.monotonic() - started > PATIENCE_SECONDS:
                raise LockstepError(f"not done after {PATIENCE_SECONDS} s: see {FOLDER}/worker-*.log.")
            looked = time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)
            outcomes = await _count(database)
            if outcomes.total() > done:  # the wait for what the killed worker was running is no work
                done = outcomes.total()
                working_seconds += time.monotonic() - looked
            speed = done / working_seconds if done else 0
            state = (
                f"{outcomes['placed']} placed, {done - outcomes['placed']} rejected,"
                f" {workers.conflicts()} retried, {speed:.0f} orders/s"
            )
            show_line(state)
            progress.update(bar, completed=done, description=state)
            if not killed_at and done >= total / 2:
                await kill()
                killed_at = time.time()
                workers.start()
                progress.print(
                    "worker 1 killed with SIGKILL, worker 3 started\nwhat worker 1 was running runs again within 16 s"
                )
            workers.check_alive(2)
    return killed_at


def _lines_without_a_bar(console: Console) -> Callable[[str], None]:
    """The function that prints how far it is, every ten seconds, if no terminal shows the bar."""
    printed = time.monotonic()

    def show(state: str) -> None:
        nonlocal printed
        if not console.is_terminal and time.monotonic() - printed > LINE_SECONDS:
            printed = time.monotonic()
            console.print(state)

    return show


async def _count(database: Database) -> Counter[str]:
    rows = await database.fetch(_COUNT_OUTCOMES, {})
    return Counter({row["reason"] or row["status"]: row["orders"] for row in rows})


def _print_summary(console: Console, result: Result) -> None:
    table = Table(
        box=None, show_header=False, padding=(0, 2), title="\nwhat became of the orders", title_justify="left"
    )
    for outcome, count in result.outcomes.most_common():
        table.add_row(outcome if outcome == "placed" else f"rejected: {outcome}", f"{count:,}")
    console.print(table)
    again = [timing for timing in result.timings if timing.job_try > 1]
    once = [timing for timing in result.timings if timing.job_try == 1]
    lines = {
        "all": f"{result.outcomes.total():,} orders in {result.seconds:.1f} s, a worker's death included",
        "latency": f"{_percentiles([t.finished_ms - t.started_ms for t in once])} in a worker",
        "": f"{_percentiles([t.finished_ms - t.enqueued_ms for t in result.timings])} from enqueue on",
        "conflicts": f"{result.conflicts} retried",
        "events": f"{result.published:,} orders published, each once",
        "crash": _recovery(again, result.killed_at),
    }
    facts = Table(box=None, show_header=False, padding=(0, 2))
    for name, text in lines.items():
        facts.add_row(name, text)
    console.print(facts)
    print_findings(console, result.findings)


def _percentiles(milliseconds: Sequence[int]) -> str:
    cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return "  ".join(f"p{percent} {cuts[percent - 1]:,.0f} ms" for percent in (50, 95, 99))


def _recovery(again: Sequence[Timing], killed_at: float) -> str:
    if not again:
        return "the killed worker was running no order"
    seconds = max(timing.finished_ms for timing in again) / 1000 - killed_at
    return f"{len(again)} orders of the killed worker placed by another after {seconds:.1f} s"


def _no_bad_line(line: int, problem: str) -> None:
    raise LockstepError(f"the samples are damaged, line {line}: {problem}.")
