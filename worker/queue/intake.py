"""The sweeper: enqueues the orders that other services have staged in the database. Each worker has one."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final
from uuid import UUID

import orjson
import structlog
from arq.connections import ArqRedis
from arq.utils import timestamp_ms
from pydantic import ValidationError

from jobs.contract import Conflict, Dead, Invalid
from jobs.dead_letters import DeadLetter
from jobs.locks import free_requests, lock_overdue, lock_staged
from jobs.orders.requests import PlaceOrder
from jobs.sweep_intake import ReadRequest, Swept, Take, Unfit, find_work, sweep_intake
from jobs.transaction import Row, Transaction
from worker import metrics
from worker.database.retry import DatabaseError
from worker.database.transactions import Database, Isolation
from worker.errors import LockstepError, sentence
from worker.queue import wire
from worker.queue.crew import Crew, Looks
from worker.queue.dead_letters import A_BUG, dead_letter

logger = structlog.get_logger()

BATCH: Final = 300  # orders of one sweep: its rows are locked for some 10 ms
# Jobs in the queue. What is staged beyond them stays in the database, which is larger than the memory of Redis.
MAX_QUEUED: Final = 100_000
# A job may stay in the queue for ever; after as long, what it has hidden is enqueued once more, to no harm.
LONGEST_WAIT_SECONDS: Final = 3600
LOOK_SECONDS: Final = 0.1  # between two looks of all workers, at first
SELDOM_SECONDS: Final = 0.5  # and after some seconds without an order
LONGEST_LOOK_SECONDS: Final = 1.0  # and of one of them
REST_SECONDS: Final = 1.0  # while a server is away or the queue is long
STOP_SECONDS: Final = 5.0  # for a sweep that has begun: what it has marked would be enqueued late
_JOB: Final = "sweep_intake"


class Intake:
    """Looks for staged orders until it is stopped; no error ends it."""

    def __init__(
        self,
        database: Database,
        redis: ArqRedis,
        crew: Crew,
        *,
        overdue_seconds: int,
        keep_outcome_seconds: int,
    ) -> None:
        self._database = database
        self._looks = Looks(crew, soon=LOOK_SECONDS, seldom=SELDOM_SECONDS, longest=LONGEST_LOOK_SECONDS)
        self._redis = redis
        self._overdue_seconds = overdue_seconds
        self._keep_outcome_seconds = keep_outcome_seconds
        self._swept = Swept([], {})  # marked in the database, and not told to Redis yet
        self._look_for_lost_at = 0.0
        self._failing = False
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sweep in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let a sweep that has begun come to its end."""
        if self._task is not None:
            self._stopping.set()
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not self._stopping.is_set():
            rest_seconds = await self._sweep_or_say_why()
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_seconds):
                    await self._stopping.wait()

    async def _sweep_or_say_why(self) -> float:
        """A sweep, and how long to rest after it. An outage is told once."""
        try:
            rest_seconds = await self._sweep()
        except (DatabaseError, LockstepError, *wire.QUEUE_ERRORS, OSError) as error:
            if not self._failing:
                logger.warning("staged orders wait", error=f"{type(error).__name__}: {error}")
            self._failing = True
            return REST_SECONDS
        except Exception:
            logger.exception("bug", job=_JOB)
            return REST_SECONDS
        self._failing = False
        return rest_seconds

    async def _sweep(self) -> float:
        await self._tell_redis()  # what an outage has left
        work = await find_work(self._database, self._overdue_seconds)
        metrics.INTAKE_LAG_SECONDS.set((work.lag_microseconds or 0) / 1e6)
        now = asyncio.get_running_loop().time()
        look_for_lost = work.overdue and now >= self._look_for_lost_at
        if not (work.staged or look_for_lost):
            return self._looks.rest()
        if await self._redis.zcard(self._redis.default_queue_name) >= MAX_QUEUED:
            return REST_SECONDS
        new = await self._take_over(partial(lock_staged, size=BATCH)) if work.staged else 0
        lost = await self._take_over(await self._overdue()) if look_for_lost else 0
        if lost:
            logger.warning("Redis had lost staged orders: enqueued again", orders=lost)
        elif look_for_lost:  # they wait in a long queue
            self._look_for_lost_at = now + REST_SECONDS
        if new or lost:
            self._looks.found()
            return 0
        return self._looks.rest()

    async def _overdue(self) -> Take:
        """What is older than the oldest job by so much: what is younger may be behind it, in a bulk job that hides its ids."""
        oldest = await self._redis.zrange(self._redis.default_queue_name, 0, 0, withscores=True)
        now_ms = timestamp_ms()
        waited_seconds = (now_ms - (oldest[0][1] if oldest else now_ms)) / 1000
        longer_seconds = int(min(max(0, waited_seconds), LONGEST_WAIT_SECONDS))
        return partial(lock_overdue, size=BATCH, overdue_seconds=self._overdue_seconds + longer_seconds)

    async def _take_over(self, take: Take) -> int:
        """How many orders Redis did not know. One that is in the way of all others is found by halves, and buried."""
        taken: list[UUID] = []

        async def noting(transaction: Transaction) -> Sequence[Row]:
            rows = await take(transaction)
            taken[:] = [UUID(row["order_id"]) for row in rows]
            return rows

        try:
            self._swept = await self._take(noting, _read)
        except Exception as error:
            if not taken or (isinstance(error, DatabaseError) and error.is_transient):
                raise
            if len(taken) > 1:
                half = len(taken) // 2
                return sum([await self._take_over(_these(ids)) for ids in (taken[:half], taken[half:])])
            logger.exception("bug", job=_JOB, job_id=str(taken[0]), show=f"lockstep dead show {taken[0]}")
            self._swept = await self._take(_these(taken), partial(_bury, error=error))
        metrics.count_outcomes(_JOB, self._swept.ended.values())
        for order_id, outcome in self._swept.ended.items():
            if isinstance(outcome, (Invalid, Conflict)):
                logger.warning(
                    "staged order refused", order_id=str(order_id), outcome=outcome.model_dump(mode="json")
                )
        return await self._tell_redis()

    async def _take(self, take: Take, read: ReadRequest) -> Swept:
        sweep = partial(sweep_intake, take=take, read=read)
        return await self._database.transact(sweep, job=_JOB, isolation=Isolation.READ_COMMITTED)

    async def _tell_redis(self) -> int:
        orders, ended = self._swept
        if ended:
            outcomes = {str(order_id): outcome for order_id, outcome in ended.items()}
            await wire.answer(self._redis, outcomes, self._keep_outcome_seconds)
        new = (
            await wire.enqueue_afresh(self._redis, [wire.placing(order) for order in orders])
            if orders
            else []
        )
        self._swept = Swept([], {})
        return sum(new)


def _these(order_ids: Sequence[UUID]) -> Take:
    return partial(free_requests, order_ids=order_ids)


def _read(order_id: UUID, request: str) -> PlaceOrder | Unfit:
    try:
        order = PlaceOrder.model_validate_json(request)
    except ValidationError as error:
        why = sentence(error)
    else:
        if order.order_id == order_id:
            return order
        why = f"order_id: {order.order_id} in the request is not {order_id}, under which it was staged"
    return Unfit(_letter(order_id, request, why), Invalid(error=why))


def _bury(order_id: UUID, request: str, error: Exception) -> Unfit:
    return Unfit(_letter(order_id, request, error), Dead(job_id=str(order_id), error=A_BUG))


def _letter(order_id: UUID, request: str, error: Exception | str) -> DeadLetter:
    try:
        content = orjson.loads(request)
    except orjson.JSONDecodeError:  # the database takes numbers that nobody can hold
        content = request
    return dead_letter(str(order_id), wire.PLACE_ORDER, content, error)
