"""One soak: clients and nemesis side by side, then calm, then every check."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.crews import ROOT
from benchmarks.loads import Load, read_baskets, repeated, shop
from benchmarks.shop import refill
from jobs.orders.audit import Finding, audit
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Statement
from tests.asking import open_session
from tests.soak.books import Books, read_books
from tests.soak.check import AGAIN, ANSWERED, BUGS, Violation, as_findings, find_violations
from tests.soak.clients import NEW, RATE, Clients
from tests.soak.goods import most_wanted, scarce
from tests.soak.history import Asked
from tests.soak.nemesis import Done, Nemesis
from tests.soak.network import Way
from tests.soak.processes import Breakable, database_of, redis_of, workers_on
from tests.soak.schedule import Fault, Kind, plan
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.settings import Settings

SAMPLES: Final = ROOT / "samples" / "journey"
DRAIN_SECONDS: Final = 150  # all that is left must have its outcome by then
LOOK_SECONDS: Final = 0.1
STAGERS: Final = 50  # connections at a time: after an outage all clients come at once
MOST_ORDERS: Final = 1_000_000
BUG_MARKS: Final = (b'"event": "bug"', b"Traceback")
_STAGED: Final = Statement("staged", "SELECT COUNT(*) AS orders FROM intake")


@dataclass(frozen=True, slots=True)
class Result:
    """What a soak came to."""

    seed: int
    seconds: float
    history: Sequence[Asked]
    faults: Sequence[Done]
    ended_by_themselves: Sequence[str]
    drain_seconds: float
    violations: Sequence[Violation]
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it takes place."""

    load: Load
    database: Database  # of the checks, by a way of its own
    client: OrderClient
    clients: Clients
    nemesis: Nemesis


async def soak(
    servers: Servers, folder: Path, seed: int, seconds: float, say: Callable[[str], None]
) -> Result:
    """Raises LockstepError where a server does not come back."""
    async with _stage(servers, folder, seed, seconds) as stage:
        drain_seconds = await _kept(
            stage.nemesis, _storm_and_calm(stage, list(plan(seed, seconds)), seconds, say)
        )
        say("every outcome is compared")
        history = list(stage.clients.history)
        violations = await _judge(stage)
        findings = await stage.database.transact(audit, job="audit")
        nemesis = stage.nemesis
    return Result(
        seed, seconds, history, nemesis.done, nemesis.ended_by_themselves, drain_seconds,
        violations, [*as_findings(violations), *findings],
    )  # fmt: skip


@asynccontextmanager
async def _stage(servers: Servers, folder: Path, seed: int, seconds: float) -> AsyncIterator[Stage]:
    baskets = read_baskets(SAMPLES)
    load = scarce(shop(SAMPLES, 1), RATE * NEW * seconds / len(baskets))
    settings = Settings(
        mysql_url=servers.mysql_url, redis_url=servers.redis_url,
        statement_seconds=60, transaction_seconds=120, job_seconds=180,  # an audit reads whole tables
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings))
        await refill(database, servers.migration_url, load)
        harmed = database_of(servers, folder), redis_of(servers, folder)
        for process in harmed:
            await stack.enter_async_context(process.running())
        ways = Way(servers.mysql_url), Way(servers.redis_url)
        mysql_url, redis_url = [await stack.enter_async_context(way.stand()) for way in ways]
        outside = replace(servers, mysql_url=mysql_url, redis_url=redis_url)
        workers = workers_on(outside, folder)
        for worker in workers:
            worker.log.unlink(missing_ok=True)
            await stack.enter_async_context(worker.running())
        client = await stack.enter_async_context(OrderClient.connect(redis_url))
        stages = OrderClient.connect(
            redis_url, stage_with=partial(_commit, asyncio.Semaphore(STAGERS), mysql_url)
        )
        staging = await stack.enter_async_context(stages)
        began = time.monotonic()

        def clock() -> float:
            return time.monotonic() - began

        hot = most_wanted(baskets)
        clients = Clients(seed, client, staging, repeated(baskets, MOST_ORDERS), hot, clock)
        nemesis = Nemesis(clock, servers, workers, *harmed, *ways, hot)
        yield Stage(load, database, client, clients, nemesis)


async def _commit(
    stagers: asyncio.Semaphore, mysql_url: str, statement: str, parameters: Mapping[str, Any]
) -> None:
    """As another service does it, in a transaction of its own."""
    async with stagers, open_session(mysql_url) as session:
        await session.run(statement, parameters)


async def _kept(nemesis: Nemesis, work: Coroutine[None, None, float]) -> float:
    """What the work comes to. However it ends, nobody touches the processes any more."""
    task, keeper = asyncio.create_task(work), asyncio.create_task(nemesis.keep_all())
    try:
        await asyncio.wait([task, keeper], return_when=asyncio.FIRST_COMPLETED)
        if keeper.done():
            keeper.result()  # which is an error
        return await task
    finally:
        task.cancel()
        keeper.cancel()
        await asyncio.gather(task, keeper, return_exceptions=True)


async def _storm_and_calm(
    stage: Stage, faults: Sequence[Fault], seconds: float, say: Callable[[str], None]
) -> float:
    """How long it took to work off what was left."""
    progress = asyncio.create_task(_tell(stage, len(faults), seconds, say))
    try:
        async with asyncio.TaskGroup() as storm:
            storm.create_task(stage.clients.come(seconds))
            storm.create_task(stage.nemesis.follow(faults))
    finally:
        progress.cancel()
    say("nothing is harmed any more: the rest is worked off")
    return await _drain(stage)


async def _tell(stage: Stage, faults: int, seconds: float, say: Callable[[str], None]) -> None:
    while True:
        history, done = stage.clients.history, len(stage.nemesis.done)
        say(
            f"{stage.nemesis.clock():.0f} of {seconds:.0f} s: {done} of {faults} faults,"
            f" {len(history):,} requests, {len(stage.clients.waiting):,} without an outcome"
        )
        await asyncio.sleep(1.0)


async def _drain(stage: Stage) -> float:
    """How long it took. What has no outcome after DRAIN_SECONDS is found by the checks."""
    began = stage.nemesis.clock()
    deadline = began + DRAIN_SECONDS
    while stage.nemesis.clock() < deadline and (
        stage.clients.waiting or await stage.client.queued() or await _staged(stage.database)
    ):
        await asyncio.sleep(LOOK_SECONDS)
    for task in stage.clients.waiting:
        task.cancel()
    return stage.nemesis.clock() - began


async def _staged(database: Database) -> int:
    """Orders that Redis may have forgotten wait in the database until they are overdue."""
    (row,) = await database.fetch(_STAGED, {})
    return int(row["orders"])


async def _judge(stage: Stage) -> list[Violation]:
    """Compare the history with the database; then ask for every order that is there once more, and compare again."""
    clients, nemesis = stage.clients, stage.nemesis
    before = await _read(stage.database)
    flushes = [done.ended for done in nemesis.done if done.fault.kind is Kind.FLUSH_REDIS]
    orders = {asked.id: asked.request for asked in clients.history if isinstance(asked.request, PlaceOrder)}
    again = [order for order_id, order in orders.items() if order_id in before.orders]
    with suppress(TimeoutError):  # then one has no outcome, and the checks find it
        async with asyncio.timeout(DRAIN_SECONDS):
            await clients.ask_all_again(again)
    after = await _read(stage.database)
    first_stock = {product.product_id: product.available for product in stage.load.products}
    return [
        *(Violation(ANSWERED, repr(error)) for error in clients.failures),
        *find_violations(clients.history, after, first_stock, flushes),
        *([] if before == after else [Violation(AGAIN, "the database holds something else")]),
        *(violation for worker in nemesis.workers for violation in _bugs(worker)),
    ]


async def _read(database: Database) -> Books:
    return await database.transact(read_books, job="read_books")


def _bugs(worker: Breakable) -> Iterator[Violation]:
    for line in worker.log.read_bytes().splitlines():
        if any(mark in line for mark in BUG_MARKS):
            yield Violation(BUGS, f"{worker.log.name}: {line.decode(errors='replace')[:500]}")
