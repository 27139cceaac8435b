"""What happened in each of the last seconds, in Redis: a page that is opened later shows it as if it had been open.

A record belongs to a second of Redis's own clock. One that begins with the name of the event stream counts events, each
once, since `EventStream` counts where it publishes. One that begins with the name of the queue has what the workers
count themselves, which they add once a second. Readers ignore fields that they do not know, so that more can be added.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, pairwise
from math import inf
from struct import pack, unpack
from typing import Any, Final, NamedTuple
from uuid import uuid4

from redis.asyncio import Redis

from jobs.outbox import KINDS_OF_STATUS
from worker import metrics

SECOND: Final = ":second:"  # between a name and the Unix second
PRODUCTS_SUFFIX: Final = (
    ":products"  # as `packed`: a field per product would be thousands of commands per second
)
BEAT_SUFFIX: Final = ":beat:"  # and a worker's id: what the last addition of that worker is known by
KEEP_SECONDS: Final = 330  # five minutes, and a reader may be late
JOBS: Final = "jobs"  # in the queue

# An addition whose answer was lost is sent again under its number, and is not added twice.
_ADD: Final = f"""
local queue, worker, number, keep_seconds, jobs = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local record = queue .. '{SECOND}' .. redis.call('TIME')[1]
redis.call('HSET', record, '{JOBS}', jobs)
redis.call('EXPIRE', record, keep_seconds)
local last = queue .. '{BEAT_SUFFIX}' .. worker
if redis.call('GET', last) == number then return end
redis.call('SET', last, number, 'EX', keep_seconds)
for i = 5, #ARGV, 2 do redis.call('HINCRBY', record, ARGV[i], ARGV[i + 1]) end
"""


class Record(NamedTuple):
    """What is known of one second: counts by field, and the products of the orders that were placed, as `packed`."""

    counts: dict[str, int]
    products: bytes = b""


def packed(product_ids: Iterable[int]) -> bytes:
    """Fit to be appended to others."""
    ids = [*product_ids]
    return pack(f"<{len(ids)}q", *ids)


def unpacked(products: bytes) -> tuple[int, ...]:
    """A product once for each order that took it."""
    return unpack(f"<{len(products) // 8}q", products)


def counted_so_far() -> dict[str, int]:
    """What this process has counted for its additions: no outcome that has an event, for those are counted there."""
    counted = {
        "outcome": metrics.totals(metrics.OUTCOMES, "outcome", "reason"),
        "deferred": metrics.totals(metrics.DEFERRED, "task"),
        "conflict": metrics.totals(metrics.CONFLICTS, "code", "statement"),
        "latency": _buckets(metrics.JOB_SECONDS),
    }
    return {
        f"{group}:{name}": count
        for group, counts in counted.items()
        for name, count in counts.items()
        if group != "outcome" or name.partition(":")[0] not in KINDS_OF_STATUS
    }


def _buckets(counted: metrics.Histogram) -> dict[str, int]:
    """How many were within each two bounds, which are the name."""
    bounds, counts = (0.0, *counted.bounds, inf), (0, *counted.cumulative())
    return {
        f"{lower}:{upper}": count - below
        for (lower, upper), (below, count) in zip(pairwise(bounds), pairwise(counts), strict=True)
    }


class Additions:
    """Adds what one worker counts to the records of its queue: each count once, whatever happens to the connection."""

    def __init__(self, redis: Redis, queue_name: str, worker_id: str, counted: Mapping[str, int]) -> None:
        """`counted` so far is for nobody's page."""
        self._add = redis.register_script(_ADD)
        self._queue = queue_name
        self._worker_id = worker_id
        self._added = Counter(counted)
        self._sent: Counter[str] | None = None  # what was sent last, unless Redis has answered
        self._process = uuid4().hex  # in a container the next process may have the same id
        self._number = 0

    async def add(self, counted: Mapping[str, int], jobs: int) -> None:
        """Add what was counted since the last time, to the record of this second."""
        if self._sent is not None:
            await self._send(self._sent, jobs)
        self._sent = Counter(counted) - self._added
        self._number += 1
        await self._send(self._sent, jobs)

    async def _send(self, counts: Counter[str], jobs: int) -> None:
        arguments: list[Any] = [self._worker_id, f"{self._process}:{self._number}", KEEP_SECONDS, jobs]
        arguments += chain.from_iterable(counts.items())
        await self._add([self._queue], arguments)
        self._added += counts
        self._sent = None


async def read_clock(redis: Redis) -> float:
    """The Unix time of Redis."""
    seconds, microseconds = await redis.time()
    return float(seconds + microseconds / 1e6)


async def read_records(
    redis: Redis, queue_name: str, stream: str, seconds: Iterable[int], *, products_from: int
) -> dict[int, Record]:
    """The records of these seconds, of one moment; products only of those from `products_from` on."""
    wanted = list(seconds)
    async with redis.pipeline(transaction=True) as pipe:
        for second in wanted:
            pipe.hgetall(f"{queue_name}{SECOND}{second}")
            pipe.hgetall(f"{stream}{SECOND}{second}")
            if second >= products_from:
                pipe.get(f"{stream}{SECOND}{second}{PRODUCTS_SUFFIX}")
        answers = iter(await pipe.execute())
    return {
        second: Record(
            _counts(next(answers)) | _counts(next(answers)),
            (next(answers) or b"") if second >= products_from else b"",
        )
        for second in wanted
    }


def _counts(kept: Mapping[bytes, bytes]) -> dict[str, int]:
    return {field.decode(errors="replace"): int(value) for field, value in kept.items() if value.isdigit()}
