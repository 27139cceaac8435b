"""What workers have counted, as they say it once a second in Redis."""

import asyncio
import json
import time
from typing import Final, NamedTuple

from arq.connections import ArqRedis
from arq.constants import default_queue_name

from benchmarks.crews import Workers
from worker.errors import LockstepError
from worker.queue.vitals import WORKERS_SUFFIX

LOOK_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 30  # a starved worker says it late


class Counts(NamedTuple):
    """Of all workers of a crew since they started."""

    runs: int = 0  # orders that were run in a batch, each time counted
    deferred: int = 0  # jobs that went back to the queue
    conflicts: int = 0  # statements that met a deadlock or another conflict, whether tried again or not


async def read_counts(redis: ArqRedis, workers: Workers) -> Counts:
    """Once each worker has said what it has counted up to now. Raises LockstepError if one does not.

    It is read as JSON, so that workers of an earlier version, whose other vitals differ, are understood.
    """
    pids = {process.pid for process in workers.processes}
    now, deadline = time.time(), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        workers.check_alive()
        said = [json.loads(vitals) for vitals in await redis.hvals(default_queue_name + WORKERS_SUFFIX)]  # type: ignore[misc]  # redis-py's type is also that of its other client
        up_to_date = [vitals for vitals in said if vitals["pid"] in pids and vitals["at"] >= now]
        if len(up_to_date) == len(pids):
            return Counts(
                round(sum(vitals["batch"]["sum"] for vitals in up_to_date)),
                sum(sum(vitals["deferred"].values()) for vitals in up_to_date),
                sum(sum(vitals["conflicts"].values()) for vitals in up_to_date),
            )
        await asyncio.sleep(LOOK_SECONDS)
    raise LockstepError(f"a worker has not said for {PATIENCE_SECONDS} s what it has counted.")
