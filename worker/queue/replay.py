"""Run the jobs of dead letters again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from arq.connections import ArqRedis
from arq.utils import timestamp_ms

from jobs.dead_letters import DeadLetter
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.connection import open_queue
from worker.queue.dead_letters import DeadLetters, message_of
from worker.queue.results import Results


class Replay:
    """Dead letters for a person who looks at them, and runs or drops their jobs."""

    def __init__(self, letters: DeadLetters, redis: ArqRedis) -> None:
        self.letters = letters
        self._redis = redis
        self._results = Results(redis)

    @classmethod
    @asynccontextmanager
    async def connect(cls, database: Database, redis_url: str, queue_name: str) -> AsyncIterator[Self]:
        """On a connection of its own to the queue."""
        redis = await open_queue(redis_url, queue_name)
        opened = cls(DeadLetters(database, redis), redis)
        try:
            yield opened
        finally:
            await opened.stop()
            await redis.aclose()

    async def stop(self) -> None:
        """End what runs in the background; the connections stay open."""
        await self._results.stop()

    async def run(self, letter: DeadLetter) -> Any:  # noqa: ANN401  # as it lies in Redis
        """What the job comes to now, under its own id. Its letter is removed once that is written, and not before.

        May be repeated, and cancelled at any time: the same id gets the same outcome, and the letter stays until then.
        """
        job = [(letter.job_id, message_of(letter))]
        while True:
            await self._results.forget(letter.job_id)
            (new,) = await wire.enqueue_packed(self._redis, job, timestamp_ms())
            result = await self._results.of(letter.job_id)
            if (
                new and result is not None
            ):  # else it answers what else waited under this id, or Redis has lost it
                break
        if result.succeeded and not stays_dead(result.content):
            await self.letters.remove(letter)
        return result.content


def stays_dead(outcome: Any) -> bool:  # noqa: ANN401  # of a bulk job: a list
    """Whether something that nothing was written of is in this letter alone.

    What is invalid is nowhere else, be it one of a list; an order of a list that is dead has a letter of its own.
    """
    if isinstance(outcome, list):
        return any(each["status"] == "invalid" for each in outcome)
    return not isinstance(outcome, dict) or outcome["status"] in {"dead", "invalid"}
