"""Lanes for runs side by side: each has a worker, a queue and a database of its own, and proxies in between."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix

from jobs.contract import Outcome
from jobs.intake import stage
from jobs.orders.known_orders import find_orders
from jobs.orders.outcomes import Placed
from jobs.orders.requests import PlaceOrder
from tests.asking import ASK_SECONDS, PATIENCE_SECONDS, PATIENT, open_session, owner_url, until
from tests.end_to_end.restarted import Worker
from tests.end_to_end.watch import IDLE_SECONDS, Point, Watch
from tests.shop import broken_invariants, open_shop
from tests.wire_proxy import Dialect, Door, Fault, MySQL, Redis, stand
from worker.client import OrderClient
from worker.database.migrations import migrate
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.queue.connection import ANSWER_SECONDS
from worker.queue.event_stream import count_first_events
from worker.settings import Settings

STATEMENT_SECONDS: Final = 1.2
# As short as they can be, but for connecting: no fault is about it, and who gives it up begins again, which makes a busy
# machine busier.
HASTY: Final[dict[str, Any]] = {
    "connection_seconds": PATIENT["connection_seconds"],
    "lock_wait_seconds": 1,
    "statement_seconds": STATEMENT_SECONDS,
    "transaction_seconds": 1.5,
    "job_seconds": 2,
    "mysql_connections": 4,
    "poll_seconds": 0.5,  # so that no poll comes while an order is on its way
    "staged_again_seconds": 3,
    "log_format": "json",
}
TOO_LATE_SECONDS: Final = 0.5  # after its sender has given it up, a delayed command arrives
STOCK: Final = 1000
RECORDINGS: Final = 20
OUTCOME_SECONDS: Final = 5 * PATIENCE_SECONDS  # dozens of workers start at once
CLIENT: Final = "client to Redis"
# Not that of its tries: counted by a delayed command when the job is over, they stay until they expire.
_KEYS_OF_A_JOB: Final = (job_key_prefix, in_progress_key_prefix)
_TRANSACTIONS: Final = """SELECT trx_query FROM information_schema.innodb_trx
  JOIN information_schema.processlist ON id = trx_mysql_thread_id WHERE db = DATABASE()"""
_STAGED: Final = "SELECT LOWER(HEX(order_id)) AS id FROM intake"


class Asked(Protocol):
    """An order that is on its way."""

    @property
    def job_id(self) -> str:
        """Of the job that it goes with."""
        ...

    async def outcome(self, timeout: float | None = None) -> Outcome:  # noqa: ASYNC109  # as a receipt has it
        """Wait for it."""
        ...


Place = Callable[["Lane"], AsyncIterator[Asked]]


class Lane:
    """The way of orders through one worker."""

    def __init__(self, servers: Servers, redis: ArqRedis) -> None:
        name = uuid4()
        self.watch = Watch()
        self._queue = f"queue:{name}"
        self._stream = f"events:{name}"
        self._database = f"lockstep_test_{name.hex[:8]}"
        self._settings = Settings(
            mysql_url=in_database(servers.mysql_url, self._database),
            migration_url=in_database(servers.migration_url, self._database),
            redis_url=servers.redis_url,
            **PATIENT,
        )
        self._redis = redis
        self._placing = False
        self._orders: dict[str, int] = {}  # that have an outcome, and their totals
        self.client: OrderClient
        self._worker: Worker

    @classmethod
    @asynccontextmanager
    async def open(
        cls, servers: Servers, redis: ArqRedis, command: Sequence[str], log: Path
    ) -> AsyncIterator["Lane"]:
        """With a worker that has started; the database is dropped at the end."""
        lane = cls(servers, redis)
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(migrate, owner_url(lane._settings))
            stack.push_async_callback(lane._ask, "DROP DATABASE " + lane._database)
            async with Database(lane._settings) as database:
                await open_shop(database, {1: STOCK, 2: STOCK, 3: STOCK})
            to_mysql = stand(lane._door("worker to MySQL", MySQL, servers.mysql_url, STATEMENT_SECONDS))
            to_redis = stand(lane._door("worker to Redis", Redis, servers.redis_url, ANSWER_SECONDS))
            from_client = stand(lane._door(CLIENT, Redis, servers.redis_url, ANSWER_SECONDS))
            environment = lane._environment(
                mysql_url=in_database(await stack.enter_async_context(to_mysql), lane._database),
                redis_url=await stack.enter_async_context(to_redis),
            )
            lane._worker = Worker(command, environment, log)
            stack.callback(lane._worker.stop)
            connecting = OrderClient.connect(
                await stack.enter_async_context(from_client), queue_name=lane._queue
            )
            lane.client = await stack.enter_async_context(connecting)
            yield lane

    async def record(self, places: Collection[Place]) -> list[list[Point]]:
        """What is said on the way of orders, after what is said at rest has been learnt.

        A worker at rest has nothing in hand, so no order meets a fault there: what it looks for, its health, and
        BLPOP are no points. Nor is what is done once, as to connect or to load a script: it comes before.
        """
        for place in places:
            await self.run(place)
        await asyncio.sleep(IDLE_SECONDS)
        self.watch.start()
        await asyncio.sleep(2 * IDLE_SECONDS)
        self.watch.idle = {point.command for point in self.watch.heard}
        return [await self._record(place) for place in places]

    async def _record(self, place: Place) -> list[Point]:
        """What is said in a run in which the worker has logged nothing: then no job ran again, as on a slow machine."""
        for _ in range(RECORDINGS):
            logged = self._worker.log.stat().st_size
            await self.run(place)
            await self.watch.until_quiet()
            if self._worker.log.stat().st_size == logged:
                return self.watch.heard
        raise AssertionError(f"each of {RECORDINGS} runs met some trouble: {self._worker.log}")

    async def run(self, place: Place, trap: tuple[Point, Fault] | None = None) -> float:
        """Place orders, and look whether all is as it must be; the seconds from the fault to all outcomes.

        Again, if nothing came to the point: a worker that waits too long for its turn runs its batch without one.
        """
        ends = self._worker.ends
        for _ in range(RECORDINGS):
            self.watch.start(trap)
            known_at, all_asked = await self._place(place)
            if trap:  # what is said last, after the events, may be the point
                await self.watch.until_quiet()
                await self._until_nothing_is_left(all_asked)
            await self._audit()
            assert self._worker.ends == ends, f"the worker has ended by itself: {self._worker.log}"
            if trap is None or self.watch.sprung_at is not None:
                return max(0.0, known_at - (self.watch.sprung_at or known_at))
        raise AssertionError(f"nothing came to {trap} in {RECORDINGS} runs: {self._worker.log}")

    async def _place(self, place: Place) -> tuple[float, list[Asked]]:
        """Until all is over; when all outcomes were known, and the orders."""
        self._placing = True
        all_asked = [asked async for asked in place(self)]
        self._placing = False
        outcomes = await asyncio.gather(*(asked.outcome(OUTCOME_SECONDS) for asked in all_asked))
        known_at = time.monotonic()
        assert all(isinstance(outcome, Placed) for outcome in outcomes), outcomes
        seen = {
            outcome.order_id.hex: outcome.total_cents for outcome in outcomes if isinstance(outcome, Placed)
        }
        self._orders |= seen
        await self._until_nothing_is_left(all_asked)
        return known_at, all_asked

    async def _until_nothing_is_left(self, all_asked: Sequence[Asked]) -> None:
        await until(
            partial(self._has_nothing_left, all_asked),
            "the events, and the queue, the staged orders and the locks to be gone",
        )

    async def stage(self, order: PlaceOrder) -> Asked:
        """As a service does that knows no Redis."""
        async with open_session(self._settings.mysql_url) as session:
            await session.run(*stage([order]))
        return Staged(order.order_id, self._settings)

    async def _audit(self) -> None:
        """Of all runs so far: the outcomes are those that the client has seen, and everything adds up."""
        rows = await self._ask(
            "SELECT LOWER(HEX(order_id)) AS id, total_cents FROM orders WHERE status = 'placed'"
        )
        kept = {row["id"]: row["total_cents"] for row in rows}
        assert kept == self._orders, f"the database holds {kept}, the client has seen {self._orders}"
        async with Database(self._settings) as database:
            broken = await broken_invariants(database)
        assert not broken, broken
        assert b"Traceback" not in self._worker.log.read_bytes(), f"a traceback in {self._worker.log}"

    async def _has_nothing_left(self, all_asked: Sequence[Asked]) -> bool:
        jobs = {asked.job_id for asked in all_asked}
        keys = [prefix + job for prefix in _KEYS_OF_A_JOB for job in jobs]
        left = await self._redis.exists(self._queue, *keys)
        told = await count_first_events(self._redis, self._stream)
        if left or told < len(self._orders):
            return False
        return not await self._ask(_STAGED) and not await self._ask(_TRANSACTIONS)

    async def _ask(self, sql: str) -> list[dict[str, Any]]:
        async with open_session(
            owner_url(self._settings)
        ) as session:  # not kept: servers allow 151 connections
            return await session.run(sql)

    def _door(
        self, way: str, dialect: Callable[[], Dialect], server_url: str, patience_seconds: float
    ) -> Door:
        def at(command: str) -> Fault | None:
            waits = way == CLIENT and not self._placing  # for the outcome
            return None if waits else self.watch.note(way, command)

        def kill() -> None:
            self._worker.kill()

        return Door(server_url, dialect, at, kill, patience_seconds + TOO_LATE_SECONDS)

    def _environment(self, **settings: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LOCKSTEP_", "COVERAGE_"))
        }
        told = {**HASTY, **settings, "queue_name": self._queue, "events_stream": self._stream}
        return kept | {f"LOCKSTEP_{name.upper()}": str(value) for name, value in told.items()}


@dataclass(frozen=True, slots=True)
class Staged:
    """An order that was staged: its outcome is in the database."""

    order_id: UUID
    settings: Settings

    @property
    def job_id(self) -> str:
        return str(self.order_id)

    async def outcome(self, timeout: float | None = None) -> Outcome:  # noqa: ASYNC109
        async with asyncio.timeout(timeout), Database(self.settings) as database:
            while not (known := await find_orders(database, [self.order_id])):
                await asyncio.sleep(ASK_SECONDS)
        return known[self.order_id].first_outcome()


def in_database(mysql_url: str, name: str) -> str:
    """The URL with this database."""
    return urlsplit(mysql_url)._replace(path=f"/{name}").geturl()
