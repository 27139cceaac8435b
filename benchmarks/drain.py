"""How fast idle workers empty a queue that was filled beforehand."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from arq.connections import ArqRedis
from arq.constants import default_queue_name, result_key_prefix

from benchmarks.crews import Workers
from jobs.orders.requests import PlaceOrder
from worker.errors import LockstepError
from worker.queue import wire
from worker.queue.wire import Message, Timing

STAGED: Final = "bench:staged"  # the queue that is filled: no worker looks at it
PATIENCE_SECONDS: Final = 90
LEAST_RATE: Final = 100  # orders a second: who is slower is not waited for
LOOK_SECONDS: Final = 0.02
_PAGE: Final = 1000  # orders a round trip


async def fill(staging: ArqRedis, orders: Sequence[PlaceOrder], chunk: int) -> None:
    """Enqueue orders where nobody takes them yet, `chunk` of them a job."""
    payloads = [order.model_dump(mode="json", exclude_none=True) for order in orders]
    if chunk == 1:
        messages = [Message(wire.PLACE_ORDER, payload["order_id"], payload) for payload in payloads]
    else:
        messages = [wire.bulk(payloads[start : start + chunk]) for start in range(0, len(payloads), chunk)]
    page = max(1, _PAGE // chunk)
    for start in range(0, len(messages), page):
        await wire.enqueue(staging, messages[start : start + page])


class Drained(NamedTuple):
    """How a full queue became an empty one."""

    seconds: float
    again: int  # jobs that were claimed more than once


async def drain(redis: ArqRedis, workers: Workers, orders: int) -> Drained:
    """From the moment when the queue, filled with so many orders, appears to the end of its last job.

    The end is the time that arq has written into the job's result: its transaction has committed before.
    """
    jobs = await redis.zcard(STAGED)
    begin = time.time()
    await redis.rename(STAGED, default_queue_name)
    await until_empty(redis, workers, max(PATIENCE_SECONDS, orders / LEAST_RATE))
    timings = await read_all_timings(redis, jobs)
    last_ms = max(timing.finished_ms for timing in timings)
    return Drained(last_ms / 1000 - begin, claimed_again(timings))


async def read_all_timings(redis: ArqRedis, jobs: int) -> list[Timing]:
    """Of all jobs that have a result. Raises LockstepError if these are not so many."""
    job_ids = [
        key.decode().removeprefix(result_key_prefix)
        async for key in redis.scan_iter(f"{result_key_prefix}*", _PAGE)
    ]
    if len(job_ids) != jobs:
        raise LockstepError(f"{jobs} jobs went into the queue, and {len(job_ids)} results came out.")
    timings: list[Timing] = []
    for start in range(0, jobs, _PAGE):
        timings += await wire.read_timings(redis, job_ids[start : start + _PAGE])
    return timings


def claimed_again(timings: Sequence[Timing]) -> int:
    """How many of these jobs needed more than one try."""
    return sum(timing.job_try > 1 for timing in timings)


async def until_empty(redis: ArqRedis, workers: Workers, seconds: float) -> None:
    """Wait until no job waits or runs. Raises LockstepError where it takes longer, or a worker has ended."""
    deadline = time.monotonic() + seconds
    while left := await redis.zcard(default_queue_name):
        workers.check_alive()
        if time.monotonic() > deadline:
            raise LockstepError(f"{left} jobs are left after {seconds:.0f} s: see the logs of the workers.")
        await asyncio.sleep(LOOK_SECONDS)
