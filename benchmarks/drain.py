"""How fast idle workers empty a queue that was filled beforehand."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from arq.connections import ArqRedis
from arq.constants import default_queue_name, result_key_prefix

from benchmarks.crews import Workers
from jobs.orders import PlaceOrder
from worker.errors import LockstepError
from worker.queue import wire
from worker.queue.wire import Message

STAGED: Final = "bench:staged"  # the queue that is filled: no worker looks at it
PATIENCE_SECONDS: Final = 90
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


async def drain(redis: ArqRedis, workers: Workers) -> float:
    """Seconds from the moment when the filled queue appears to the end of its last job.

    The end is the time that arq has written into the job's result: its transaction has committed before.
    """
    jobs = await redis.zcard(STAGED)
    begin = time.time()
    await redis.rename(STAGED, default_queue_name)
    await until_empty(redis, workers, PATIENCE_SECONDS)
    job_ids = [
        key.decode().removeprefix(result_key_prefix)
        async for key in redis.scan_iter(f"{result_key_prefix}*", _PAGE)
    ]
    if len(job_ids) != jobs:
        raise LockstepError(f"{jobs} jobs went into the queue, and {len(job_ids)} results came out.")
    last_ms = 0
    for start in range(0, jobs, _PAGE):
        last_ms = max(
            last_ms,
            *(
                timing.finished_ms
                for timing in await wire.read_timings(redis, job_ids[start : start + _PAGE])
            ),
        )
    return last_ms / 1000 - begin


async def until_empty(redis: ArqRedis, workers: Workers, seconds: float) -> None:
    """Wait until no job waits or runs. Raises LockstepError where it takes longer, or a worker has ended."""
    deadline = time.monotonic() + seconds
    while left := await redis.zcard(default_queue_name):
        workers.check_alive()
        if time.monotonic() > deadline:
            raise LockstepError(f"{left} jobs are left after {seconds:.0f} s: see the logs of the workers.")
        await asyncio.sleep(LOOK_SECONDS)
