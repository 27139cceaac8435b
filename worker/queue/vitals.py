"""What every worker has done so far, once a second in Redis: whoever reads it sees all workers of a queue."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from socket import gethostname
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis

from jobs.dead_letters import count_dead_letters
from worker import metrics
from worker.database.deadlock_picture import draw
from worker.database.deadlock_words import to_json
from worker.database.deadlocks import Explanation
from worker.database.transactions import Database, Look
from worker.probes import DATABASE, REDIS, Health, watch_event_loop
from worker.queue.background import Background
from worker.queue.crew import Crew
from worker.queue.dead_letters import SUFFIX as DEAD_SUFFIX
from worker.queue.seconds import Additions, counted_so_far
from worker.queue.wire import QUEUE_ERRORS

logger = structlog.get_logger()

WORKERS_SUFFIX: Final = ":workers"  # of the hash, named after the queue
DEADLOCK_SUFFIX: Final = ":deadlock"
BEAT_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 2.0
ALIVE_SECONDS: Final = 5.0  # who has not been heard of for longer is not alive
FORGET_SECONDS: Final = 60.0
STOP_SECONDS: Final = 1.0
KEEP_DEADLOCK_SECONDS: Final = 24 * 3600


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)  # fields that another version adds are passed over


class Histogram(_Read):
    """How many values were at most as large as each bound; the last count, which has no bound, is of all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Vitals(_Read):
    """What one worker has counted since it started. Times are Unix times by the clock of Redis."""

    id: str  # host:pid:start
    host: str
    pid: int
    started_at: float
    at: float
    alive: bool = True  # whoever reads it is told
    orders_per_second: float = 0.0  # between its last two beats; repeats count too

    outcomes: dict[str, int]  # `placed`, `rejected:insufficient_stock`, …
    deferred: dict[str, int]  # by task: put off for another try
    buried: dict[str, int]  # by task
    conflicts: dict[str, int]  # `1213:lock_stock`: code and statement
    latency: Histogram  # of jobs, in seconds from enqueue to outcome
    batch: Histogram  # orders that shared a transaction
    attempts: Histogram  # of a transaction
    loop_lag: Histogram  # seconds

    pool_in_use: int
    pool_size: int
    outbox_lag_seconds: float
    intake_lag_seconds: float

    # The same for all workers, as each has seen it last.
    queue_jobs: int
    queue_oldest_seconds: float
    dead_letters: int


class KeptDeadlock(_Read):
    """The last deadlock that a worker has met: as `lockstep deadlocks --json` has it, and as a picture."""

    at: float
    job: str  # that was rolled back
    explanation: dict[str, Any]
    svg: str


class Pulse:
    """Tells what this process has counted, and notes who answers, until it is stopped; no outage ends it."""

    def __init__(self, redis: ArqRedis, database: Database, health: Health, crew: Crew) -> None:
        self._crew = crew
        self._redis = redis
        self._look = Look(database)
        self._health = health
        self._queue = redis.default_queue_name
        self._workers = self._queue + WORKERS_SUFFIX
        host, pid, started_at = gethostname(), os.getpid(), time.time()
        self._about: dict[str, Any] = {
            "id": f"{host}:{pid}:{started_at:.0f}", "host": host, "pid": pid, "started_at": started_at,
        }  # fmt: skip
        self._additions = Additions(redis, self._queue, self._about["id"], counted_so_far())
        self._orders = (_orders(), time.monotonic())  # when it beat last
        self._letters_in_database = 0
        self._forget_at = 0.0
        self._tasks = [
            Background(partial(_repeat, self.beat, BEAT_SECONDS)),
            Background(partial(_repeat, self._look_at_the_database, LOOK_SECONDS)),
            Background(partial(watch_event_loop, health)),
        ]

    def start(self) -> None:
        """Tell it once a second."""
        for task in self._tasks:
            task.wake()

    async def stop(self) -> None:
        """Add what is left to add, and take this worker from the list."""
        for task in self._tasks:
            await task.stop()
        with suppress(TimeoutError, OSError, *QUEUE_ERRORS):  # the others forget it after a while
            async with asyncio.timeout(STOP_SECONDS), self._redis.pipeline(transaction=False) as pipe:
                pipe.hdel(self._workers, self._about["id"])
                pipe.zcard(self._queue)
                _, jobs = await pipe.execute()
                await self._additions.add(counted_so_far(), jobs)

    async def beat(self) -> None:
        """Look at the queue, and tell everything."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zcard(self._queue)
            pipe.zrangebyscore(self._queue, "(0", "+inf", start=0, num=1, withscores=True)
            pipe.hlen(self._queue + DEAD_SUFFIX)
            pipe.hlen(self._workers)
            (seconds, microseconds), jobs, oldest, letters_in_redis, self._crew.size = await pipe.execute()
            now = seconds + microseconds / 1e6
            metrics.DEAD_LETTERS.set(self._letters_in_database + letters_in_redis)
            metrics.QUEUE_JOBS.set(jobs)
            metrics.QUEUE_OLDEST_SECONDS.set(max(0.0, now - oldest[0][1] / 1000) if oldest else 0.0)
            vitals = Vitals(at=now, orders_per_second=self._rate(), **self._about, **_counted())
            pipe.hset(self._workers, vitals.id, vitals.model_dump_json(exclude={"alive"}))
            await pipe.execute()
        await self._additions.add(counted_so_far(), jobs)
        self._health.answered(REDIS)
        if now >= self._forget_at:
            await self._forget_the_dead(now)
            self._forget_at = now + FORGET_SECONDS

    def _rate(self) -> float:
        (before, then), self._orders = self._orders, (_orders(), time.monotonic())
        orders, now = self._orders
        return (orders - before) / (now - then)

    async def _forget_the_dead(self, now: float) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._workers)
            (kept,) = await pipe.execute()
            known = {field: _read(told, now) for field, told in kept.items()}
            dead = [field for field, one in known.items() if not one or now - one.at > FORGET_SECONDS]
            if dead:
                pipe.hdel(self._workers, *dead)
                await pipe.execute()

    async def _look_at_the_database(self) -> None:
        self._letters_in_database = await count_dead_letters(self._look)
        self._health.answered(DATABASE)


async def _repeat(work: Callable[[], Awaitable[None]], rest_seconds: float) -> None:
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # an outage, of which everybody else tells
            logger.debug("vitals wait", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(rest_seconds)


def _counted() -> dict[str, Any]:
    return {
        "outcomes": metrics.totals(metrics.OUTCOMES, "outcome", "reason"),
        "deferred": metrics.totals(metrics.DEFERRED, "task"),
        "buried": metrics.totals(metrics.BURIED, "task"),
        "conflicts": metrics.totals(metrics.CONFLICTS, "code", "statement"),
        "latency": _histogram(metrics.JOB_SECONDS),
        "batch": _histogram(metrics.BATCH_ORDERS),
        "attempts": _histogram(metrics.ATTEMPTS),
        "loop_lag": _histogram(metrics.LOOP_LAG_SECONDS),
        "pool_in_use": metrics.value(metrics.POOL_IN_USE),
        "pool_size": metrics.value(metrics.POOL_SIZE),
        "outbox_lag_seconds": metrics.value(metrics.OUTBOX_LAG_SECONDS),
        "intake_lag_seconds": metrics.value(metrics.INTAKE_LAG_SECONDS),
        "queue_jobs": metrics.value(metrics.QUEUE_JOBS),
        "queue_oldest_seconds": metrics.value(metrics.QUEUE_OLDEST_SECONDS),
        "dead_letters": metrics.value(metrics.DEAD_LETTERS),
    }


def _orders() -> int:
    outcomes = metrics.totals(metrics.OUTCOMES, "outcome")
    return outcomes.get("placed", 0) + outcomes.get("rejected", 0)


def _histogram(counted: metrics.Histogram) -> Histogram:
    return Histogram(bounds=tuple(counted.bounds), counts=tuple(counted.cumulative()), sum=counted.sum())


def _read(told: bytes, now: float) -> Vitals | None:
    """None where it is of another version, or no vitals at all."""
    try:
        vitals = Vitals.model_validate_json(told)
    except ValidationError:
        return None
    return vitals.model_copy(update={"alive": now - vitals.at < ALIVE_SECONDS})


async def read_vitals(redis: Redis, queue_name: str) -> list[Vitals]:
    """What is known of the workers of a queue, by id; those that have died lately are not `alive`."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hvals(queue_name + WORKERS_SUFFIX)
        (now, _), kept = await pipe.execute()
    known = [vitals for told in kept if (vitals := _read(told, now))]
    return sorted(known, key=lambda vitals: vitals.id)


async def keep_deadlock(redis: ArqRedis, explanation: Explanation, job: str) -> None:
    """For `read_deadlock`, in the place of the one before."""
    seconds, _ = await redis.time()
    kept = KeptDeadlock(at=seconds, job=job, explanation=to_json(explanation), svg=draw(explanation))
    await redis.set(
        redis.default_queue_name + DEADLOCK_SUFFIX, kept.model_dump_json(), ex=KEEP_DEADLOCK_SECONDS
    )


async def read_deadlock(redis: Redis, queue_name: str) -> KeptDeadlock | None:
    """The last that a worker of this queue has met within a day, where workers may see deadlocks (PROCESS)."""
    kept = await redis.get(queue_name + DEADLOCK_SUFFIX)
    try:
        return KeptDeadlock.model_validate_json(kept) if kept else None
    except ValidationError:
        return None
