"""How many jobs a worker claims: what it completes in two seconds."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from worker.queue.batch_size import MOST, BatchSize

MAX_JOBS: Final = 2 * MOST  # one batch is placed while the next gathers
MAX_BYTES: Final = 300 * 1024  # of the claimed jobs: some 600 orders of ten lines, single or in bulk jobs
AHEAD_SECONDS: Final = 2.0  # of work that is claimed at most
MEASURE_SECONDS: Final = 0.5  # of work, after which the rate is known again


class Room:
    """The room for further jobs in this worker.

    It follows the rate at which jobs were completed while there were any: a quiet queue leaves it as it is, and a
    starved worker leaves to others what it could not run soon.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.batch = BatchSize()  # there is always room for one
        self._most_jobs = self._most_bytes = 0  # nothing is known yet: a batch
        self._held_jobs = self._held_bytes = 0
        self._done_jobs = self._done_bytes = 0
        self._busy_seconds = self._busy_since = 0.0
        self._freed = asyncio.Event()

    @property
    def jobs(self) -> int:
        """How many more jobs may be claimed."""
        return max(self._most_jobs, self.batch.now) - self._held_jobs

    @property
    def bytes(self) -> int:
        """How large these may be together; the last one may be larger."""
        return max(self._most_bytes, MAX_BYTES * self.batch.now // MAX_JOBS) - self._held_bytes

    def take(self, size: int) -> None:
        """A job of so many bytes was claimed."""
        if not self._held_jobs:
            self._busy_since = self._clock()
        self._held_jobs += 1
        self._held_bytes += size

    def complete(self, sizes: Sequence[int]) -> None:
        """Jobs of so many bytes have ended."""
        self._done_jobs += len(sizes)
        self._done_bytes += sum(sizes)
        self.leave(sizes)

    def leave(self, sizes: Sequence[int]) -> None:
        """Jobs of so many bytes are left to other workers, or to a later time."""
        self._held_jobs -= len(sizes)
        self._held_bytes -= sum(sizes)
        self._measure()
        self._freed.set()

    async def wait(self, seconds: float) -> None:
        """Until a job leaves, but no longer than this."""
        self._freed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._freed.wait()

    def _measure(self) -> None:
        now = self._clock()
        self._busy_seconds += now - self._busy_since
        self._busy_since = now
        if self._busy_seconds >= MEASURE_SECONDS:
            share = AHEAD_SECONDS / self._busy_seconds
            self._most_jobs = min(MAX_JOBS, int(share * self._done_jobs))
            self._most_bytes = min(MAX_BYTES, int(share * self._done_bytes))
            self._busy_seconds, self._done_jobs, self._done_bytes = 0.0, 0, 0
