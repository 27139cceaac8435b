"""What lies in the queue at this moment."""

from typing import NamedTuple

from arq.connections import ArqRedis


class Backlog(NamedTuple):
    """How many jobs wait, run or are put off, and for how long the oldest has been due."""

    jobs: int
    oldest_seconds: float


async def read_backlog(redis: ArqRedis) -> Backlog:
    """As of now, by the clock of Redis alone."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zcard(redis.default_queue_name)
        pipe.zrange(redis.default_queue_name, 0, 0, withscores=True)
        (seconds, microseconds), jobs, oldest = await pipe.execute()
    due_at = oldest[0][1] / 1000 if oldest else float("inf")
    return Backlog(jobs, max(0.0, seconds + microseconds / 1e6 - due_at))
