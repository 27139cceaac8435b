"""Latency in an open loop: orders come when they come, however slow the answers are."""

import asyncio
import gc
import random
import time
from collections.abc import Sequence
from typing import Final

from arq.connections import ArqRedis

from benchmarks.crews import Workers
from benchmarks.drain import until_empty
from benchmarks.loads import SEED
from jobs.orders.requests import PlaceOrder
from worker.client import OrderClient
from worker.errors import LockstepError
from worker.queue import wire
from worker.queue.wire import Timing

LEAD_SECONDS: Final = 0.2  # from the call to the start of the schedule
PATIENCE_SECONDS: Final = 30


def schedule(rate: float, seconds: float) -> list[float]:
    """When orders come, in seconds from the start: a Poisson process, fixed beforehand."""
    chance = random.Random(SEED)  # noqa: S311  # the same arrivals in every run
    moments, moment = [], chance.expovariate(rate)
    while moment < seconds:
        moments.append(moment)
        moment += chance.expovariate(rate)
    return moments


async def place_on_time(
    queue: ArqRedis, workers: Workers, orders: Sequence[PlaceOrder], moments: Sequence[float]
) -> tuple[list[float], list[Timing]]:
    """Place each order at its moment, as a service does; when each was due (Unix time), and what arq noted of its job."""
    client = OrderClient(queue, max_queued=len(orders))
    gc.disable()  # to look through all these orders takes half a second, in which none would be placed
    start, clock = time.time() + LEAD_SECONDS, time.monotonic() + LEAD_SECONDS
    async with asyncio.TaskGroup() as arrivals:
        placing = []
        for order, moment in zip(orders, moments, strict=True):
            await asyncio.sleep(clock + moment - time.monotonic())
            placing.append(arrivals.create_task(client.place(order)))
    gc.enable()
    await client.stop()
    await until_empty(queue, workers, PATIENCE_SECONDS)
    timings = await wire.read_timings(queue, [call.result().job_id for call in placing])
    if len(timings) != len(orders):
        raise LockstepError(f"{len(orders)} orders were enqueued, and {len(timings)} of them have a result.")
    return [start + moment for moment in moments], timings
