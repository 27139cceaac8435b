"""arq's worker, with a page of jobs in each round trip to Redis: what `lockstep worker` runs.

arq claims jobs one by one with four round trips each, and ends them with another. Here a script claims as many as
there is room for, and what is done in the same moment is ended together. The keys, their types and their
meaning are arq's, so that both kinds of worker share one queue.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import uuid4

import structlog
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.jobs import deserialize_job_raw, serialize_result
from arq.utils import ms_to_datetime, timestamp_ms, to_ms
from arq.worker import JobExecutionFailed, Retry, Worker
from redis.exceptions import ResponseError

logger = structlog.get_logger()

MAX_BYTES: Final = 300 * 1024  # of the jobs in hand: some 600 orders of ten lines, single or in bulk jobs
KEEP_TRIES_SECONDS: Final = 88_400  # as arq does
IDS_AHEAD: Final = 100  # looked at beyond the room there is: others may have taken some since they were read

_IN_PROGRESS: Final = in_progress_key_prefix.encode()
_JOB: Final = job_key_prefix.encode()
_RESULT: Final = result_key_prefix.encode()
_RETRY: Final = retry_key_prefix.encode()

# Of these job ids, those that are due and that nobody has in hand: claimed, the try counted, the job read.
# What this claim has in hand already was claimed by it before, and the answer was lost.
# Answers how many ids it has looked at, and of each job its id, score, content and try. No content: it has expired;
# an error instead of either: its key is of a wrong type. The tries of such a key are counted anew, or no job would run.
_CLAIM: Final = """
local queue, claim, now, in_progress_ms, keep_tries = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local jobs, bytes, in_progress, job = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8]
local retry = ARGV[9]
local claimed, looked = {}, 0
for i = 10, #ARGV do
  if #claimed == jobs or bytes <= 0 then break end
  looked = looked + 1
  local id = ARGV[i]
  local score = tonumber(redis.call('ZSCORE', queue, id) or 0)
  local holder = redis.pcall('GET', in_progress .. id)
  if score ~= 0 and score <= now and (not holder or holder == claim) then
    local content = redis.pcall('GET', job .. id)
    redis.call('SET', in_progress .. id, claim, 'PX', in_progress_ms)
    local try = redis.pcall('INCRBY', retry .. id, holder and 0 or 1)
    if type(try) == 'table' then redis.call('SET', retry .. id, 1) end
    redis.call('EXPIRE', retry .. id, keep_tries)
    claimed[#claimed + 1] = {id, score, content, try}
    bytes = bytes - (type(content) == 'string' and #content or 0)
  end
end
return {looked, claimed}
"""


class _Claimed(NamedTuple):
    """A job in hand: its content, None where it has expired, or why that cannot be read. Ids are whatever was sent."""

    job_id: bytes
    score: int
    content: bytes | ResponseError | None
    job_try: int

    @property
    def name(self) -> str:
        return self.job_id.decode(errors="backslashreplace")


def _read(
    job_id: bytes, score: int, content: bytes | ResponseError | None, job_try: int | ResponseError
) -> _Claimed:
    job = _Claimed(job_id, score, content, 1 if isinstance(job_try, ResponseError) else job_try)
    if isinstance(job_try, ResponseError):
        logger.error("tries are counted anew", key=retry_key_prefix + job.name, error=str(job_try))
    return job


class _Ended(NamedTuple):
    """A job that is over, with its result, or that is to be run again: at this time, or, where it is 0, at once."""

    job_id: bytes
    result: bytes | None = None
    due_ms: int | None = None


class PageWorker(Worker):
    """For the functions of this project: no cron jobs, aborts, hooks or settings of single jobs."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  # arq's own
        super().__init__(**settings)
        self._bytes_in_hand = 0
        self._room = asyncio.Event()
        self._page: list[_Ended] = []
        self._ending: asyncio.Task[None] | None = None

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start these jobs as there is room for them, except those that somebody else has in hand."""
        while job_ids and self.allow_pick_jobs:
            await self.record_health()  # where it is due: arq's own loop does not come to it meanwhile
            jobs, size = self.max_jobs - self.job_counter, MAX_BYTES - self._bytes_in_hand
            if jobs <= 0 or size <= 0:
                self._room.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.health_check_interval):
                        await self._room.wait()
                continue
            looked, claimed = await self._claim(job_ids[: jobs + IDS_AHEAD], jobs, size)
            for job in claimed:
                self._start(job)
            job_ids = job_ids[looked:]

    async def _claim(self, job_ids: list[bytes], jobs: int, size: int) -> tuple[int, list[_Claimed]]:
        """How many ids were looked at, and the jobs; nobody has them in hand where the worker is to end meanwhile."""
        # A name of its own for each claim: redis-py sends it once more where the answer is lost.
        limits = [uuid4().hex, timestamp_ms(), int(self.in_progress_timeout_s * 1000), KEEP_TRIES_SECONDS]
        arguments: list[Any] = [*limits, jobs, size, _IN_PROGRESS, _JOB, _RETRY, *job_ids]
        script = self.pool.register_script(_CLAIM)
        claiming = asyncio.ensure_future(script([self.queue_name], arguments))
        try:
            looked, claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            _, claimed = await claiming
            await self._give_back([job_id for job_id, *_ in claimed])
            raise
        return looked, [_read(*job) for job in claimed]

    async def _give_back(self, job_ids: list[bytes]) -> None:
        """As if nobody had claimed them."""
        async with self.pool.pipeline(transaction=True) as pipe:
            for job_id in job_ids:
                pipe.delete(_IN_PROGRESS + job_id)
                pipe.decr(_RETRY + job_id)
            await pipe.execute()

    def _start(self, job: _Claimed) -> None:
        size = len(job.content) if isinstance(job.content, bytes) else 0

        def leave_room(_: asyncio.Task[None]) -> None:
            self.job_counter -= 1
            self._bytes_in_hand -= size
            self._room.set()

        self.job_counter += 1
        self._bytes_in_hand += size
        self.tasks[job.name] = task = self.loop.create_task(self._run(job))
        task.add_done_callback(leave_room)

    async def _run(self, job: _Claimed) -> None:
        name, args, enqueued_ms, started_ms = "<unknown>", (), 0, timestamp_ms()
        success, result = False, None
        try:
            if isinstance(job.content, ResponseError):
                raise job.content  # noqa: TRY301  # told like every other failure
            if not job.content:
                raise JobExecutionFailed("job expired")  # noqa: TRY301  # the same
            name, args, _, _, enqueued_ms = deserialize_job_raw(
                job.content, deserializer=self.job_deserializer
            )
            about = {"job_id": job.job_id.decode(), "job_try": job.job_try, "score": job.score}
            ctx = {**self.ctx, **about, "enqueue_time": ms_to_datetime(enqueued_ms)}
            async with asyncio.timeout(self.job_timeout_s):
                result = await self.functions[name].coroutine(ctx, *args)
            success = True
            self.jobs_complete += 1
        except (Retry, asyncio.CancelledError) as error:
            self.jobs_retried += 1
            defer_ms = error.defer_score if isinstance(error, Retry) else None
            due_ms = timestamp_ms() + defer_ms if defer_ms else 0
            await self._end(_Ended(job.job_id, due_ms=due_ms))
            return
        except Exception as error:
            logger.exception("job failed", job_id=job.name)
            result = error
            self.jobs_failed += 1
        serialized = serialize_result(
            name, args, {}, job.job_try, enqueued_ms, success, result, started_ms, timestamp_ms(),
            f"{job.name}:{name}", self.queue_name, job_id=job.name, serializer=self.job_serializer,
        )  # fmt: skip
        await self._end(_Ended(job.job_id, serialized))

    async def _end(self, job: _Ended) -> None:
        """End this job, together with all others of this moment. A worker that stops leaves that to itself."""
        if self._ending is None:
            self._ending = self.loop.create_task(self._end_page())
        self._page.append(job)
        with suppress(asyncio.CancelledError):  # arq's close() would end with it, and leave the rest open
            await asyncio.shield(self._ending)

    async def _end_page(self) -> None:
        page, self._page, self._ending = self._page, [], None
        over = [job.job_id for job in page if job.due_ms is None]
        async with self.pool.pipeline(transaction=True) as pipe:
            for job in page:
                if job.due_ms:
                    # The same however often it is told; and no job comes back that somebody else has ended.
                    pipe.zadd(self.queue_name, {job.job_id: job.due_ms}, xx=True)
                elif job.result is not None:
                    pipe.set(_RESULT + job.job_id, job.result, px=to_ms(self.keep_result_s))
            keys = [_IN_PROGRESS + job.job_id for job in page]
            if over:
                pipe.zrem(self.queue_name, *over)
                keys += [prefix + job_id for prefix in (_JOB, _RETRY) for job_id in over]
            pipe.delete(*keys)
            await pipe.execute()
