"""A queue of a given length, and a crew that works on it for some seconds."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from arq.constants import default_queue_name, result_key_prefix

from benchmarks.__main__ import SAMPLES
from benchmarks.arena import Arena
from benchmarks.crews import Crew, Workers, running
from benchmarks.drain import LOOK_SECONDS, PATIENCE_SECONDS, STAGED, fill, until_empty
from benchmarks.loads import shop
from benchmarks.shop import find_faults, refill
from jobs.orders.requests import PlaceOrder
from worker.errors import LockstepError
from worker.queue import wire

TIMES: Final = 100  # the stock of the samples: nearly all orders of one turn are placed
PAGE: Final = 10_000
LEFT: Final = 0.1  # of a backlog: the clock stops before the workers run out of jobs


@dataclass(frozen=True, slots=True)
class Turn:
    """What a crew came to."""

    command: str
    chunk: int
    size: int
    rate: float  # orders a second
    peak_mb: float  # of the larger worker
    bytes_an_order: float  # of Redis


@dataclass(slots=True)
class Backlog:
    """A queue that is kept filled with so many orders, `chunk` of them a job."""

    arena: Arena
    size: int
    chunk: int
    orders: Iterator[PlaceOrder]
    bytes_an_order: float = 0.0

    async def _used_memory(self) -> int:
        return int((await self.arena.queue.info("memory"))["used_memory"])

    async def fill_up(self, say: Callable[[str], None]) -> int:
        """Enqueue what is missing, where no worker looks; how many jobs are there."""
        missing = self.size - self.chunk * await self.arena.staging.zcard(STAGED)
        before = await self._used_memory()
        for done in range(0, missing, PAGE):
            say(f"enqueued {done:,} of {missing:,} orders, {self.chunk} a job")
            page = list(islice(self.orders, min(PAGE, missing - done)))
            await fill(self.arena.staging, page, self.chunk)
        self.bytes_an_order = self.bytes_an_order or (await self._used_memory() - before) / missing
        jobs: int = await self.arena.staging.zcard(STAGED)
        return jobs

    async def work(self, crew: Crew, seconds: float, say: Callable[[str], None]) -> Turn:
        """How fast a crew places these orders. Raises LockstepError unless all that it took have one outcome."""
        arena, label = self.arena, f"{crew.command}, {self.chunk} a job"
        await refill(arena.database, arena.servers.migration_url, shop(SAMPLES, TIMES))
        jobs, done, spent = await self.fill_up(say), 0, 0.0
        async with running(crew, arena.servers, arena.folder) as workers:
            while True:
                say(f"{label}, {self.size:,} orders")
                part, part_seconds = await self._pace(workers, seconds - spent)
                done, spent = done + part, spent + part_seconds
                if spent >= seconds:
                    break
                await until_empty(arena.queue, workers, PATIENCE_SECONDS)
                jobs += await self.fill_up(say)
                await workers.wait_until_idle()
            peak = max(memory_of(each.pid) for each in workers.processes)
        say(f"{label}, {self.size:,} orders: checking")
        if await arena.queue.exists(default_queue_name):
            await arena.queue.rename(default_queue_name, STAGED)
        await self._check(jobs - await arena.queue.zcard(STAGED))
        return Turn(crew.command, self.chunk, self.size, done * self.chunk / spent, peak, self.bytes_an_order)

    async def _pace(self, workers: Workers, seconds: float) -> tuple[int, float]:
        """Jobs that idle workers finish from the first one on, and in how many seconds."""
        queue = self.arena.queue
        await queue.rename(STAGED, default_queue_name)
        jobs = first = await queue.zcard(default_queue_name)
        while first == jobs:
            workers.check_alive()
            first = await queue.zcard(default_queue_name)
        begin, left = time.perf_counter(), first
        while left > LEFT * jobs and time.perf_counter() - begin < seconds:
            workers.check_alive()
            await asyncio.sleep(LOOK_SECONDS)
            left = await queue.zcard(default_queue_name)
        return first - left, time.perf_counter() - begin

    async def _check(self, taken: int) -> None:
        queue = self.arena.queue
        found = queue.scan_iter(f"{result_key_prefix}*", PAGE)
        keys = list({key async for key in found})  # SCAN may name a key twice
        placed: list[str] = []
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            for result in await queue.mget(page):
                placed += order_ids_of(wire.deserialize(result)["r"])
            await queue.unlink(*page)
        faults = await find_faults(self.arena.database, set(placed))
        if len(keys) != taken or len(set(placed)) != taken * self.chunk:
            faults.append(f"{taken} jobs were taken; {len(keys)} results tell of {len(set(placed))} orders")
        if faults:
            raise LockstepError("; ".join(faults))


def order_ids_of(outcome: Any) -> list[str]:  # noqa: ANN401  # whatever a job came to
    """The orders, in hex, that the result of a job tells of."""
    return [
        each["order_id"].replace("-", "") for each in (outcome if isinstance(outcome, list) else [outcome])
    ]


def memory_of(pid: int) -> float:
    """The most that a process ever had, in MB."""
    return peak_mb(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))


def peak_mb(status: str) -> float:
    """VmHWM of /proc/PID/status."""
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
