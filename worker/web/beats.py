"""One beat of the live page: everything that it shows, of one moment, read from Redis and the database."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
import structlog

from jobs.orders.products import has_products, product_names
from worker.database.retry import DatabaseError
from worker.database.transactions import Database, Look
from worker.queue.backlog import read_backlog
from worker.queue.dead_letters import DeadLetters
from worker.queue.seconds import read_clock, read_records
from worker.queue.vitals import read_deadlock, read_vitals
from worker.queue.wire import QUEUE_ERRORS
from worker.web.deadlock_facts import facts_of
from worker.web.recent import WINDOW_SECONDS, Point, Recent

logger = structlog.get_logger()

NEWEST_POINTS: Final = 10  # in a beat: who misses beats misses no point of the curves
READ_SECONDS: Final = 2.0  # for what one server is asked: a beat must not wait for one that is away
MOST_PRODUCTS: Final = 8
MOST_LETTERS: Final = 20
MOST_ERROR: Final = 300  # characters of a letter's error
_MISSING: Final = {
    "queue": "Redis does not answer: what is in the queue and what the workers do is not known.",
    "database": "The database does not answer, or has no tables: what is in it is not known.",
}
_UNKNOWN: Final = dict.fromkeys((
    "orders_per_second", "outcomes", "latency", "conflicts", "deferred", "queue", "workers", "deadlock",
    "products", "dead_letters",
))  # fmt: skip


class Beat(NamedTuple):
    """One moment: the points of the curves up to it, and all that is shown as JSON, with the newest of those points."""

    points: list[Point]
    json: bytes


class Beats:
    """Reads one beat after the other. Its clock is that of Redis, as far as it has been read."""

    def __init__(self, database: Database, queue: Any, events_stream: str) -> None:  # noqa: ANN401  # an ArqRedis
        self._look = Look(database)
        self._queue = queue
        self._letters = DeadLetters(database, queue)
        self._stream = events_stream
        self._recent = Recent()
        self._ahead = time.time() - time.monotonic()  # of this process's own clock
        self._names: dict[int, str] = {}
        self._stocked = False
        self._missing: list[str] = []

    async def read(self) -> Beat:
        """The next beat. What a server does not tell in time is null in it, and a sentence says so."""
        missing: list[str] = []
        content: dict[str, Any] = dict(_UNKNOWN)
        content |= await self._ask("queue", self._read_queue, missing)
        read_products = partial(self._read_products, orders_known=not missing)
        content |= await self._ask("database", read_products, missing)
        if not missing:  # they may be in either
            content |= await self._ask("database", self._read_letters, missing)
        self._missing = missing
        now, points = self._now(), self._recent.points()
        if content["queue"] is None:
            points.append((now, None, None))
        troubles = [_MISSING[server] for server in missing]
        shown = {"at": now, "troubles": troubles, **content, "points": points[-NEWEST_POINTS:]}
        return Beat(points, orjson.dumps(shown))

    def _now(self) -> float:
        return self._ahead + time.monotonic()

    async def _ask(
        self, server: str, question: Callable[[], Awaitable[dict[str, Any]]], missing: list[str]
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await question()
        except (DatabaseError, OSError, *QUEUE_ERRORS) as error:  # TimeoutError is an OSError
            if server not in self._missing:
                logger.warning("the live page lacks a server", server=server, error=repr(error))
            missing.append(server)
            return {}

    async def _read_queue(self) -> dict[str, Any]:
        name = self._queue.default_queue_name
        workers = await read_vitals(self._queue, name)
        backlog = await read_backlog(self._queue)
        deadlock = await read_deadlock(self._queue, name)
        await self._read_seconds(backlog.jobs)
        return {
            "orders_per_second": self._recent.orders_per_second(),
            "outcomes": [
                {"outcome": kind, "reason": reason or None, "count": count}
                for (kind, _, reason), count in _parted(self._recent.outcomes())
            ],
            "latency": self._recent.latency(),
            "conflicts": [
                {"code": int(code), "statement": statement, "count": count}
                for (code, _, statement), count in _parted(self._recent.conflicts())
            ],
            "deferred": self._recent.deferred(),
            "queue": backlog._asdict(),
            "workers": [
                one.model_dump(include={"id", "host", "pid", "started_at", "alive", "orders_per_second"})
                for one in workers
            ],
            "deadlock": deadlock and facts_of(deadlock),
        }

    async def _read_seconds(self, jobs: int) -> None:
        clock = await read_clock(self._queue)
        self._ahead, now = clock - time.monotonic(), int(clock)
        unread = self._recent.unread(now)
        records = await read_records(
            self._queue,
            self._queue.default_queue_name,
            self._stream,
            unread,
            products_from=now - WINDOW_SECONDS + 1,
        )
        for second, record in records.items():
            self._recent.add(second, record)
            await asyncio.sleep(
                0
            )  # at full speed a second takes milliseconds, and the first time there are many
        self._recent.go_on(now, jobs)

    async def _read_products(self, *, orders_known: bool) -> dict[str, Any]:
        hottest = self._recent.hottest(MOST_PRODUCTS) if orders_known else []
        if unknown := {product_id for product_id, _ in hottest} - self._names.keys():
            self._names |= await product_names(self._look, unknown)
        self._stocked = self._stocked or await has_products(self._look)
        named = [
            {"product_id": product_id, "name": self._names.get(product_id), "orders": orders}
            for product_id, orders in hottest
        ]
        orders = self._recent.placed()
        known = {"orders": orders, "hottest": named} if orders_known else {"orders": None, "hottest": None}
        return {"products": {"stocked": self._stocked, **known}}

    async def _read_letters(self) -> dict[str, Any]:
        letters = await self._letters.oldest(MOST_LETTERS)
        told = {"job_id", "job", "tries", "buried_at"}
        return {
            "dead_letters": {
                "count": await self._letters.count(),
                "oldest": [
                    {**letter.model_dump(mode="json", include=told), "error": letter.error[:MOST_ERROR]}
                    for letter in letters
                ],
            }
        }


def _parted(counts: Counter[str]) -> list[tuple[tuple[str, str, str], int]]:
    """Most first, their names parted at the colon."""
    return [(name.partition(":"), count) for name, count in counts.most_common()]
