"""`arq worker.main`: the settings that arq reads from this module's names.

arq takes the arguments of its Worker from the module's own `__dict__`, so each public name below is one of those.
"""

import asyncio
import gc
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, cast

import structlog
import uvloop
from arq.worker import create_worker
from redis.exceptions import RedisError

from worker import tracing
from worker.database.migrations import check_ready
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.logs import set_up_logs
from worker.probes import Health, serving
from worker.queue import wire
from worker.queue.connection import redis_settings as _redis_settings
from worker.queue.connection import warn_of_eviction, what_is_wrong
from worker.queue.dead_letters import DeadLetters
from worker.queue.event_stream import EventStream
from worker.queue.group_commit import GroupCommit
from worker.queue.intake import Intake
from worker.queue.paged_redis import PagedRedis
from worker.queue.placing import Placing
from worker.queue.relay import Relay
from worker.queue.room import MAX_JOBS
from worker.queue.tasks import (
    DATABASE_KEY,
    DEAD_LETTERS_KEY,
    FUNCTIONS,
    GROUP_COMMIT_KEY,
    JOB_SECONDS_KEY,
)
from worker.queue.tested_arq import check_arq
from worker.queue.turns import RedisTurns
from worker.queue.vitals import Pulse, keep_deadlock
from worker.settings import read_settings
from worker.supervisor import stop_with_supervisor

logger = structlog.get_logger()

try:
    check_arq()
    _settings = read_settings()
except LockstepError as error:
    sys.exit(f"lockstep: {error}")

_REDIS_ERRORS: Final = (RedisError, OSError)
# arq would cancel a job after this, and a batch that has begun ends by itself.
_NEVER: Final = timedelta(weeks=1)

functions = FUNCTIONS
queue_name = _settings.queue_name
redis_settings = _redis_settings(_settings.redis_url)  # of `arq --check`
redis_pool = PagedRedis.at(_settings.redis_url, queue_name)
job_serializer = wire.serialize
job_deserializer = wire.deserialize_job
expires_extra_ms = wire.EXPIRES_MS

max_jobs = MAX_JOBS  # the pool claims fewer, if these are more than two seconds of work
poll_delay = _settings.poll_seconds
job_timeout = _NEVER
job_completion_wait = _settings.stop_seconds
keep_result = _settings.keep_outcome_seconds
max_tries = 2**31  # tries are used up by outages, and an outage must never cost an order
health_check_interval = 1
log_results = False

_OPEN_KEY: Final = "open"  # in arq's ctx: what on_shutdown ends


async def on_startup(ctx: dict[Any, Any]) -> None:
    """Open the database. A refusal or a missing table ends the worker; an outage does not."""
    set_up_logs(_settings.log_format, _settings.log_level)
    logger.info("started", queue=queue_name, mysql_connections=_settings.mysql_connections)
    ctx[_OPEN_KEY] = stack = AsyncExitStack()
    health = _show_what_is_asked_for(stack)
    ctx[JOB_SECONDS_KEY] = _settings.job_seconds
    database = Database(_settings, tell_deadlock=partial(keep_deadlock, ctx["redis"]))
    ctx[DATABASE_KEY] = await stack.enter_async_context(database)
    turns = RedisTurns(_settings.redis_url, queue_name)
    ctx[GROUP_COMMIT_KEY] = group_commit = GroupCommit(
        Placing(database, batch_seconds=_settings.lock_wait_seconds),
        turns,
        ctx["redis"].room.batch,
        wait_seconds=_settings.job_seconds,
    )
    ctx[DEAD_LETTERS_KEY] = dead_letters = DeadLetters(database, ctx["redis"])
    stream = EventStream(_settings.redis_url, _settings.events_stream, _settings.events_kept)
    relay = Relay(database, stream, ctx["redis"].crew)
    intake = Intake(
        database,
        ctx["redis"],
        ctx["redis"].crew,
        overdue_seconds=_settings.staged_again_seconds,
        keep_outcome_seconds=_settings.keep_outcome_seconds,
    )
    pulse = Pulse(ctx["redis"], database, health, ctx["redis"].crew)
    # In the opposite order of their ends: no more orders are swept up, those in hand end, and then their events go out.
    for end in (
        pulse.stop,
        stream.close,
        relay.stop,
        dead_letters.stop,
        turns.close,
        group_commit.close,
        intake.stop,
    ):
        stack.push_async_callback(end)
    pulse.start()
    await warn_of_eviction(ctx["redis"])
    try:
        await check_ready(database)
        if letters := await dead_letters.count():
            logger.warning("dead letters wait for somebody", letters=letters, show="lockstep dead list")
    except LockstepError as error:
        sys.exit(f"lockstep: {error}")
    except DatabaseError as error:
        logger.warning("database does not answer: jobs wait until it does", error=str(error))
    relay.start()
    intake.start()
    dead_letters.start()


def _show_what_is_asked_for(stack: AsyncExitStack) -> Health:
    """Metrics at a port, and traces. What cannot be had ends the worker: nobody would notice until it is needed."""
    health = Health()
    try:
        if _settings.metrics_port:
            stack.enter_context(serving(_settings.metrics_host, _settings.metrics_port, health))
        if _settings.tracing:
            stack.push_async_callback(asyncio.to_thread, tracing.set_up("lockstep-worker"))
    except LockstepError as error:
        sys.exit(f"lockstep: {error}")
    return health


async def on_shutdown(ctx: dict[Any, Any]) -> None:
    """End what runs beside the jobs, and close the database; on_startup may not have come that far."""
    if _OPEN_KEY in ctx:
        await ctx[_OPEN_KEY].aclose()
        logger.info("stopped")


def _sentence(error: BaseException) -> str:
    return f"lockstep: the worker has ended: {what_is_wrong(error, _settings.redis_url)}"


def _say_what_ended_arq(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, _REDIS_ERRORS):
        sys.stderr.write(f"{_sentence(error)}\n")
    elif isinstance(error, asyncio.CancelledError):
        # Of a job that arq cancelled while it told Redis of its end.
        sys.stderr.write("lockstep: the worker ended before Redis knew of all its jobs; others run them.\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_what_ended_arq
gc.set_threshold(20_000, 20, 20)
asyncio.set_event_loop(uvloop.new_event_loop())  # arq runs on the current loop


def run(*, supervised: bool = False) -> None:
    """What `lockstep worker` runs: `arq worker.main`."""
    worker = create_worker(cast("Any", sys.modules[__name__]))
    if supervised:
        stop_with_supervisor(worker.loop)
    try:
        worker.run()
    except _REDIS_ERRORS as error:
        sys.exit(_sentence(error))
