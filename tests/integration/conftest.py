"""arq workers in the test's own loop, on the production functions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import pytest
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import Function, Worker, func

from tests.asking import PATIENCE_SECONDS, until
from tests.integration.patience import NEVER, widen
from worker import metrics
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import connection, paged_redis, wire
from worker.queue.batch_size import MOST, BatchSize
from worker.queue.crew import Crew
from worker.queue.dead_letters import DeadLetters
from worker.queue.event_stream import EventStream
from worker.queue.group_commit import GroupCommit
from worker.queue.intake import Intake
from worker.queue.paged_redis import PagedRedis
from worker.queue.placing import Placing
from worker.queue.replay import Replay
from worker.queue.room import MAX_JOBS, Room
from worker.queue.tasks import (
    DATABASE_KEY,
    DEAD_LETTERS_KEY,
    FUNCTIONS,
    GROUP_COMMIT_KEY,
    JOB_SECONDS_KEY,
)
from worker.queue.turns import RedisTurns
from worker.settings import Settings

QUEUE: Final = "arq:queue"
Looked = Callable[[], dict[str, int]]
Streams = Callable[[str, int], EventStream]
MakePool = Callable[..., PagedRedis]
MakeWorker = Callable[..., Worker]
MakeIntake = Callable[..., Intake]
Run = Callable[[dict[Any, Any], wire.Payload], Coroutine[Any, Any, Any]]


@pytest.fixture(autouse=True)
def _wide_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before every other fixture, so that what they open has it."""
    widen(monkeypatch)


def functions(**runs: Run) -> list[Function]:
    """Functions under names that the wire knows."""
    return [*(func(cast("WorkerCoroutine", run), name=name) for name, run in runs.items()), FUNCTIONS[-1]]


class RoomFor(Room):
    """Always for so many jobs, however quick they are."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    @property
    def jobs(self) -> int:
        return self._most - self._held_jobs


@pytest.fixture
async def make_pool(settings: Settings) -> AsyncIterator[MakePool]:
    """The pool that a worker has in production: each worker has one of its own, as it holds what the worker runs."""
    opened: list[PagedRedis] = []

    def make(
        url: str = settings.redis_url,
        queue_name: str = QUEUE,
        *,
        kind: type[PagedRedis] = PagedRedis,
        jobs: int | None = None,
    ) -> PagedRedis:
        pool = kind.at(url, queue_name)
        if jobs is not None:
            pool.room = RoomFor(jobs)
        opened.append(pool)
        return pool

    yield make
    for pool in opened:
        await pool.aclose(close_connection_pool=True)


@pytest.fixture
def pool(make_pool: MakePool) -> PagedRedis:
    """One of them."""
    return make_pool()


@pytest.fixture
async def make_worker(make_pool: MakePool, settings: Settings) -> AsyncIterator[MakeWorker]:
    """A worker that runs the queue dry, unless told otherwise; it needs a database, and may have its own timing."""
    opened: list[tuple[GroupCommit[Any, Any], RedisTurns]] = []

    def make(
        database: Database,
        *,
        pool: ArqRedis | None = None,
        functions: Sequence[Function] = FUNCTIONS,
        job_seconds: float = settings.job_seconds,
        batch_seconds: float = settings.lock_wait_seconds,
        **options: Any,
    ) -> Worker:
        pool = pool or make_pool()
        turns = RedisTurns(settings.redis_url, options.get("queue_name", QUEUE))
        size = pool.room.batch if isinstance(pool, PagedRedis) else BatchSize(MOST)
        placing = Placing(database, batch_seconds=batch_seconds)
        group_commit = GroupCommit(placing, turns, size, wait_seconds=job_seconds)
        opened.append((group_commit, turns))
        arguments: dict[str, Any] = {
            "burst": True,
            "poll_delay": 0.01,
            "max_tries": 1000,
            "max_jobs": MAX_JOBS,
            "job_timeout": NEVER,
            **options,
        }
        return Worker(
            functions=functions,
            redis_pool=pool,
            handle_signals=False,
            job_serializer=wire.serialize,
            job_deserializer=wire.deserialize_job,
            ctx={
                DATABASE_KEY: database,
                GROUP_COMMIT_KEY: group_commit,
                JOB_SECONDS_KEY: job_seconds,
                DEAD_LETTERS_KEY: DeadLetters(database, pool),
            },
            **arguments,
        )

    yield make
    for group_commit, turns in opened:
        await group_commit.close()
        await turns.close()


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is not woken sleeps for longer than a test lasts."""
    monkeypatch.setattr(paged_redis, "LOOK_SECONDS", NEVER)
    monkeypatch.setattr(paged_redis, "LONGEST_LOOK_SECONDS", NEVER)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 2 * NEVER)


async def until_full(redis: ArqRedis) -> None:
    """Wait until a client has asked again and again whether there is room in the queue."""
    await redis.config_resetstat()

    async def asked() -> bool:
        return bool((await redis.info("commandstats")).get("cmdstat_zcard", {"calls": 0})["calls"] >= 3)

    await until(asked, "a client to wait for room")


async def until_idle(redis: ArqRedis, workers: int = 1) -> None:
    """Wait until so many wait to be woken."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await redis.info("clients"))["blocked_clients"] != workers:
            pass


@pytest.fixture
async def worker(make_worker: MakeWorker, database: Database) -> AsyncIterator[Worker]:
    """A worker that runs during the test."""
    async with running(make_worker(database, burst=False)) as started:
        yield started


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker until the end of the block."""
    task = asyncio.create_task(worker.main())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.wait([task])
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)


@pytest.fixture
async def streams(settings: Settings) -> AsyncIterator[Streams]:
    """Make a stream of this name that keeps so many events."""
    opened: list[EventStream] = []

    def make(name: str, kept: int) -> EventStream:
        opened.append(EventStream(settings.redis_url, name, kept))
        return opened[-1]

    yield make
    for stream in opened:
        await stream.close()


@pytest.fixture
def stream(streams: Streams, settings: Settings) -> EventStream:
    """The stream of the settings."""
    return streams(settings.events_stream, settings.events_kept)


async def entries(redis: ArqRedis) -> list[dict[str, str]]:
    """What was published, in its order."""
    return [
        {name.decode(): value.decode() for name, value in entry.items()}
        for _, entry in await redis.xrange("lockstep:events")
    ]


@pytest.fixture
async def make_intake(database: Database, redis: ArqRedis) -> AsyncIterator[MakeIntake]:
    """Sweepers that run until they are stopped, at the end of the test at the latest."""
    made: list[Intake] = []

    def make(overdue_seconds: int = 60) -> Intake:
        made.append(Intake(database, redis, Crew(), overdue_seconds=overdue_seconds, keep_outcome_seconds=60))
        made[-1].start()
        return made[-1]

    yield make
    await asyncio.gather(*(intake.stop() for intake in made))


@pytest.fixture
async def letters(database: Database, redis: ArqRedis) -> AsyncIterator[DeadLetters]:
    opened = DeadLetters(database, redis)
    yield opened
    await opened.stop()


@pytest.fixture
async def replay(letters: DeadLetters, redis: ArqRedis) -> AsyncIterator[Replay]:
    opened = Replay(letters, redis)
    yield opened
    await opened.stop()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[OrderClient]:
    async with OrderClient.connect(settings.redis_url) as connected:
        yield connected


@pytest.fixture
def looked() -> Looked:
    """How often something was looked for in a cache since the test began, by what, and what came of it."""
    began = metrics.totals(metrics.CACHE_REQUESTS, "cache", "result")

    def count() -> dict[str, int]:
        now = metrics.totals(metrics.CACHE_REQUESTS, "cache", "result")
        return {name: times - began.get(name, 0) for name, times in now.items() if times > began.get(name, 0)}

    return count
