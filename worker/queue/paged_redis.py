"""The Redis pool of arq's worker: it claims a page of jobs in one round trip, and answers arq's questions from it.

arq claims its jobs one by one, with four round trips each, reads them with another, and ends them with a sixth. Its
loop stays as it is: the pool knows the commands that it sends (worker/queue/tested_arq.py holds it to them).
"""

import asyncio
from contextlib import suppress
from typing import Any, Final, cast

import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.utils import timestamp_ms
from redis.asyncio.client import Pipeline

from worker.queue.background import Background
from worker.queue.claims import LEASE_SECONDS, Claimed, claim, give_back, renew
from worker.queue.connection import connection_pool
from worker.queue.crew import Crew, Looks
from worker.queue.endings import Command, Ending, end_together, failed, fault_of
from worker.queue.room import Room
from worker.queue.wire import EXPIRES_MS, QUEUE_ERRORS, WAKE_SUFFIX, deserialize_job, serialize

logger = structlog.get_logger()

# Between two looks of all idle workers, at first, and of one of them, or after some seconds without a job: jobs of
# clients that do not wake a worker start this late.
LOOK_SECONDS: Final = 0.1
LONGEST_LOOK_SECONDS: Final = 0.5
# Without room for a job, arq has its cron jobs, aborts and health to see to.
FULL_SECONDS: Final = 0.5
RENEW_SECONDS: Final = LEASE_SECONDS / 5


class PagedRedis(ArqRedis):
    """What arq takes as `redis_pool`, for one worker."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # arq's own
        super().__init__(*arguments, **options)
        self.room = Room()
        self.crew = Crew()
        self._looks = Looks(
            self.crew, soon=LOOK_SECONDS, seldom=LONGEST_LOOK_SECONDS, longest=LONGEST_LOOK_SECONDS
        )
        self._queue = self.default_queue_name
        self._waiting: dict[str, Claimed] = {}  # until arq starts them
        self._running: dict[str, Claimed] = {}
        self._returning: set[str] = set()
        self._page: list[Ending] = []
        self._ending: asyncio.Task[None] | None = None
        self._renewing = Background(self._renew)

    @classmethod
    def at(cls, url: str, queue_name: str) -> "PagedRedis":
        """Connects when it is first used."""
        return cls(
            connection_pool(url, retries=15),
            job_serializer=serialize,
            job_deserializer=deserialize_job,
            default_queue_name=queue_name,
            expires_extra_ms=EXPIRES_MS,
        )

    async def zrangebyscore(self, name: str, *, max: int, num: int, **_: Any) -> list[bytes]:  # type: ignore[override]  # noqa: A002, ANN401  # as arq asks
        """Ids of jobs that are claimed for arq. If there is none, wait for one, or a little while."""
        self._queue = name
        if not self._waiting:
            if self.room.jobs <= 0 or self.room.bytes <= 0:
                await self.room.wait(FULL_SECONDS)
            else:
                await self._claim_or_wait(max, num)
        return [job.job_id for job in self._waiting.values()][:num]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002  # as redis-py has it
        """One that answers arq's questions about claimed jobs."""
        return _Pipeline(self, transaction, shard_hint)

    def give_back(self, job_id: str) -> None:
        """A job that is about to end without an outcome did nothing: any worker may run it at once, the try uncounted."""
        self._returning.add(job_id)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001  # as redis-py has it
        """Leave what did not end to other workers."""
        await self._renewing.stop()
        left = [*self._waiting.values(), *self._running.values()]
        with suppress(*QUEUE_ERRORS):  # then they have it when the leases run out
            await give_back(self, left)
        await super().aclose(close_connection_pool)

    def waiting(self, key: object, prefix: str) -> Claimed | None:
        """The job that this key of arq's belongs to, if it is claimed and arq has not started it."""
        return self._waiting.get(key.removeprefix(prefix)) if isinstance(key, str) else None

    def running(self, key: object, prefix: str) -> Claimed | None:
        """The same of one that arq has started."""
        return self._running.get(key.removeprefix(prefix)) if isinstance(key, str) else None

    def start(self, job: Claimed) -> None:
        """Arq starts it."""
        job_id = job.job_id.decode()
        self._running[job_id] = self._waiting.pop(job_id)
        self._returning.discard(job_id)  # of an earlier run that was cancelled before its end

    async def end(self, job: Claimed, commands: list[Command]) -> None:
        """End a job together with all others of this moment. Then it may be claimed again, so it is no longer run here."""
        job_id = job.job_id.decode()
        del self._running[job_id]
        if job_id in self._returning:
            self._returning.discard(job_id)
            commands.append(("DECR", retry_key_prefix + job_id))
        await self._add(Ending(job, commands))

    async def _add(self, ending: Ending) -> None:
        self._page.append(ending)
        if self._ending is None:
            self._ending = asyncio.create_task(self._end_page())
        await asyncio.shield(self._ending)

    async def _end_page(self) -> None:
        page, self._page, self._ending = self._page, [], None
        try:
            await end_together(self, page)
        finally:
            self.room.complete([ending.job.size for ending in page if ending.is_done])
            self.room.leave([ending.job.size for ending in page if not ending.is_done])

    async def _claim_or_wait(self, due_ms: int, most: int) -> None:
        await self._claim(due_ms, most)
        if self._waiting:
            return
        seconds = self._looks.rest()
        # redis-py's type knows whole seconds only
        if await cast("Any", self).blpop(self._queue + WAKE_SUFFIX, seconds):
            await self._claim(timestamp_ms(), most)

    async def _claim(self, due_ms: int, most: int) -> None:
        """If the worker is to end meanwhile, they are left to others."""
        jobs, size = min(most, self.room.jobs), self.room.bytes
        claiming = asyncio.ensure_future(claim(self, self._queue, due_ms=due_ms, jobs=jobs, size=size))
        try:
            claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await give_back(self, await claiming)
            raise
        for job in claimed:
            if self._has(job):
                continue
            self.room.take(job.size)
            if fault := fault_of(job):
                logger.error("job failed", job_id=job.name, error=f"{type(fault).__name__}: {fault}")
                await self._add(failed(job, fault, self._queue, self.job_serializer))
            else:
                self._waiting[job.job_id.decode()] = job
        if claimed:
            self._looks.found()
            self._renewing.wake()

    def _has(self, job: Claimed) -> bool:
        """Whether this worker has claimed it before: the lease has run out, and goes on under the new name."""
        for jobs in (self._waiting, self._running):
            if before := jobs.get(job.name):
                jobs[job.name] = before._replace(claim=job.claim)
                return True
        return False

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not (held := [*self._waiting.values(), *self._running.values()]):
                continue
            try:
                await renew(self, self._queue, held)
            except (*QUEUE_ERRORS, OSError) as error:
                logger.warning("leases are not renewed", error=f"{type(error).__name__}: {error}")


class _Pipeline(Pipeline):
    """Answers for a claimed job what arq would ask Redis, and hands its end to the pool."""

    def __init__(self, pool: PagedRedis, transaction: bool, shard_hint: str | None) -> None:  # noqa: FBT001  # as redis-py has it
        super().__init__(pool.connection_pool, pool.response_callbacks, transaction, shard_hint)
        self._pool = pool
        self._starting: Claimed | None = None

    async def immediate_execute_command(self, *words: Any, **options: Any) -> Any:  # noqa: ANN401  # as redis-py has it
        """Arq asks whether it may start a job: whether another worker has it, and where it stands in the queue."""
        if words[0] == "WATCH":
            self._starting = self._pool.waiting(words[1], in_progress_key_prefix)
            if self._starting:
                self.watching = True
                return True
        if self._starting:
            return self._starting.score if words[0] == "ZSCORE" else 0
        execute: Any = super().immediate_execute_command  # it has no types
        return await execute(*words, **options)

    def zincrby(self, name: Any, amount: float, value: Any) -> Any:  # noqa: ANN401  # as redis-py has it
        """Defer a job, unless another worker has ended it meanwhile: it would come back without its content."""
        return self.zadd(name, {value: amount}, xx=True, incr=True)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  # the same
        """Arq starts a job, reads one, or ends one."""
        if self._starting:
            self._pool.start(self._starting)
            return [True]
        commands = [words for words, _ in self.command_stack]
        match commands:
            case [("GET", key), ("INCRBY", _, _), ("EXPIRE", *_), *_] if job := self._pool.running(
                key, job_key_prefix
            ):
                self.command_stack = self.command_stack[3:]  # for a worker that allows aborts, ZREM
                rest = await super().execute(raise_on_error) if self.command_stack else []
                return [job.content, job.job_try, True, *rest]
        if job := self._ended(commands):
            await self._pool.end(job, commands)
            return [True] * len(commands)
        return await super().execute(raise_on_error)

    def _ended(self, commands: list[Command]) -> Claimed | None:
        keys = (key for words in commands if words[0] in {"DEL", "PEXPIRE"} for key in words[1:])
        jobs = (self._pool.running(key, in_progress_key_prefix) for key in keys)
        return next(filter(None, jobs), None)
