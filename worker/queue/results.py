"""All who wait for a result wait together: one task asks Redis for all of them."""

import asyncio
from contextlib import suppress
from typing import Any, Final, NamedTuple

from arq.connections import ArqRedis
from arq.constants import result_key_prefix

from worker.errors import LockstepError
from worker.queue.background import Background
from worker.queue.wire import deserialize

POLL_SECONDS: Final = 0.02
# With thousands of jobs, or little CPU, the rest is so many times as long as the look was, up to this.
REST_TIMES: Final = 4
LONGEST_POLL_SECONDS: Final = 2.0
CHECK_SECONDS: Final = (
    0.25  # how often all jobs are looked for in the queue, too: it is seldom that Redis forgets one
)
PAGE: Final = 200  # keys in one MGET: the result of a bulk job has up to 40 KB


class Result(NamedTuple):
    """What a job came to: its outcome (of a bulk job, a list of them), or the text of why arq gave it up."""

    succeeded: bool
    content: Any
    arguments: list[Any]


def read_result(data: bytes) -> Result:
    """A result that cannot be read counts as one of a job given up."""
    try:
        kept = deserialize(data)
        return Result(kept["s"], kept["r"], kept["a"])
    except Exception as error:  # noqa: BLE001  # msgpack raises nearly anything
        return Result(False, f"its result cannot be read ({type(error).__name__}: {error})", [])


class Results:
    """The results of jobs, each read once for all who wait for it."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._waiting: dict[str, set[asyncio.Future[Result | None]]] = {}
        self._new: list[str] = []  # not asked for yet
        self._somebody = asyncio.Event()
        self._background = Background(self._watch)

    async def of(self, job_id: str) -> Result | None:
        """Wait for the result of a job; None where Redis knows nothing of it."""
        self._background.wake()
        answer: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(answer)
        self._new.append(job_id)
        self._somebody.set()
        try:
            return await answer
        finally:
            others = self._waiting.get(job_id, set())
            others.discard(answer)
            if not others:
                self._waiting.pop(job_id, None)

    async def forget(self, job_id: str) -> None:
        """Remove a result, so that its job can be asked again."""
        await self._redis.delete(result_key_prefix + job_id)

    async def stop(self) -> None:
        """Whoever still waits gets a LockstepError."""
        await self._background.stop()
        reason = "the client was closed before the outcome was there; the request stays in the queue."
        self._fail(LockstepError(f"{reason} To learn its outcome, send it once more by another client."))

    async def _watch(self) -> None:
        """Who comes is served at once; all are, every POLL_SECONDS."""
        clock = asyncio.get_running_loop().time
        poll_at, check_at = clock() + POLL_SECONDS, clock() + CHECK_SECONDS
        while self._waiting:
            new, self._new = self._new, []
            self._somebody.clear()
            try:
                await self._look(list(dict.fromkeys(new)), is_check=True)
                if clock() >= poll_at:
                    is_check, began = clock() >= check_at, clock()
                    await self._look(list(self._waiting), is_check=is_check)
                    rest_seconds = min(LONGEST_POLL_SECONDS, REST_TIMES * (clock() - began))
                    poll_at = clock() + max(POLL_SECONDS, rest_seconds)
                    check_at = clock() + CHECK_SECONDS if is_check else check_at
            except Exception as error:  # noqa: BLE001  # an outage: whoever waits is told
                self._fail(error)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(poll_at):
                    await self._somebody.wait()

    async def _look(self, job_ids: list[str], *, is_check: bool) -> None:
        """A job that is not in the queue, and has no result either when that is asked for *then*, is forgotten."""
        queue = self._redis.default_queue_name
        for start in range(0, len(job_ids), PAGE):
            page = job_ids[start : start + PAGE]
            scores = await self._redis.zmscore(queue, page) if is_check else [0.0] * len(page)
            results = await self._redis.mget([result_key_prefix + job_id for job_id in page])
            for job_id, score, result in zip(page, scores, results, strict=True):
                if result is not None:
                    self._answer(job_id, read_result(result))
                elif score is None:
                    self._answer(job_id, None)

    def _answer(self, job_id: str, result: Result | None) -> None:
        for answer in self._waiting.pop(job_id, ()):
            if not answer.done():
                answer.set_result(result)

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            _, answers = self._waiting.popitem()
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
