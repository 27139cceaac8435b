"""Bare arq beside the production worker, for the traps of queues."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import in_progress_key_prefix
from arq.jobs import Job, JobResult
from arq.worker import Function, Worker

from tests.asking import PATIENCE_SECONDS
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.dead_letters import DeadLetters
from worker.queue.group_commit import GroupCommit
from worker.queue.paged_redis import PagedRedis
from worker.queue.placing import Placing
from worker.queue.tasks import (
    DATABASE_KEY,
    DEAD_LETTERS_KEY,
    FUNCTIONS,
    GROUP_COMMIT_KEY,
    JOB_SECONDS_KEY,
)
from worker.queue.turns import RedisTurns
from worker.settings import Settings

TURNS_KEY: Final = "turns"
_NUMBERS: Final = ("max_jobs", "job_completion_wait", "keep_result", "max_tries")
_SHOW: Final = f"""
import json
import worker.main as main
shown = {{name: getattr(main, name) for name in {_NUMBERS}}}
shown |= {{name: getattr(main, name).__name__ for name in ("job_serializer", "job_deserializer")}}
shown["job_timeout"] = main.job_timeout.total_seconds()
print(json.dumps(shown))
"""


@asynccontextmanager
async def bare_queue(redis_url: str, **options: Any) -> AsyncIterator[ArqRedis]:
    """arq's pool as arq makes it, with pickle."""
    settings = replace(RedisSettings.from_dsn(redis_url), conn_timeout=PATIENCE_SECONDS)
    pool = await create_pool(settings, **options)
    try:
        yield pool
    finally:
        await pool.aclose()


def bare_worker(pool: ArqRedis, functions: Sequence[Function], **options: Any) -> Worker:
    """A worker with arq's own settings, which runs the queue dry."""
    options = {"burst": True, "poll_delay": 0.01, **options}
    return Worker(functions, redis_pool=pool, handle_signals=False, **options)


def our_worker(redis: ArqRedis, database: Database, settings: Settings, **options: Any) -> Worker:
    """A worker with all that worker.main gives to arq, which runs the queue dry."""
    pool = redis if isinstance(redis, PagedRedis) else _paged(redis)
    turns = RedisTurns(settings.redis_url, pool.default_queue_name)
    placing = Placing(database, batch_seconds=settings.lock_wait_seconds)
    return Worker(
        FUNCTIONS,
        redis_pool=pool,
        handle_signals=False,
        ctx={
            DATABASE_KEY: database,
            GROUP_COMMIT_KEY: GroupCommit(placing, turns, pool.room.batch, wait_seconds=settings.job_seconds),
            JOB_SECONDS_KEY: settings.job_seconds,
            DEAD_LETTERS_KEY: DeadLetters(database, pool),
            TURNS_KEY: turns,
        },
        **{"burst": True, "poll_delay": 0.01, **_production_options(settings), **options},
    )


def _paged(redis: ArqRedis) -> PagedRedis:
    """The pool of one worker, on these connections."""
    return PagedRedis(
        redis.connection_pool,
        job_serializer=redis.job_serializer,
        job_deserializer=redis.job_deserializer,
        default_queue_name=redis.default_queue_name,
        expires_extra_ms=redis.expires_extra_ms,
    )


async def _end(worker: Worker) -> None:
    """What the worker has open; what it had claimed it keeps, as one that was killed."""
    if isinstance(worker.pool, PagedRedis):
        await worker.pool._renewing.stop()
        await worker.ctx[GROUP_COMMIT_KEY].close()
        await worker.ctx[TURNS_KEY].close()


def _production_options(settings: Settings) -> dict[str, Any]:
    shown = _show_main(settings)
    names = {name: getattr(wire, shown[name]) for name in ("job_serializer", "job_deserializer")}
    return {**shown, **names}


@cache
def _show_main(settings: Settings) -> dict[str, Any]:
    """worker.main is imported in a process of its own: it sets the event loop."""
    told = {
        f"LOCKSTEP_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude_none=True).items()
    }
    root = Path(__file__).resolve().parents[3]
    shown = subprocess.run(
        [sys.executable, "-c", _SHOW], env=os.environ | told, cwd=root, check=True, capture_output=True
    )
    options: dict[str, Any] = json.loads(shown.stdout)
    return options


async def run_dry(worker: Worker) -> None:
    """Run a worker until its queue is empty; fail where a job never ends."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await worker.main()
    finally:
        jobs = list(worker.tasks.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await _end(worker)


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker during the block; at its end the worker gets arq's own SIGTERM."""
    worker.burst = False
    task = asyncio.create_task(worker.async_run())
    try:
        yield task
    finally:
        jobs = list(worker.tasks.values())
        worker.handle_sig(signal.SIGTERM)
        await asyncio.gather(task, *jobs, return_exceptions=True)
        await _end(worker)


class CrashError(Exception):
    """What ends a worker between the work of a job and the note that it is done."""


async def crash(_: dict[Any, Any]) -> None:
    """For `on_job_end`: the job is run, and arq has not written that it is."""
    raise CrashError


async def forget_the_dead_worker(redis: ArqRedis, job_id: str) -> None:
    """Let the time go by for which the queue believes that a worker has the job."""
    assert await redis.expire(in_progress_key_prefix + job_id, 0)


async def result_of(redis: ArqRedis, job_id: str) -> JobResult:
    """What the queue keeps of a job that has ended."""
    info = await Job(job_id, redis, _deserializer=redis.job_deserializer).result_info()
    assert info is not None, "the job has no result"
    return info
