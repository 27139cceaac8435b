"""Whether jobs wait for a worker for longer than LOCKSTEP_BUSY_SECONDS. The contract is in docs/http.md."""

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Final

import structlog

from worker.metrics import BUSY
from worker.queue.wire import QUEUE_ERRORS

logger = structlog.get_logger()

LOOK_SECONDS: Final = 1.0  # from the end of a look at the queue to the next one
ANSWER_SECONDS: Final = 0.5  # no request waits longer for a look; one that fails says nothing
MOST_RETRY_SECONDS: Final = 30


class Busy:
    """All requests share one look at the queue per second. Without requests nobody looks."""

    def __init__(self, read_waiting_seconds: Callable[[], Awaitable[float]], limit_seconds: float) -> None:
        self._read = read_waiting_seconds
        self._limit_seconds = limit_seconds
        self._look_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._retry_seconds = 0
        self._is_known = True

    async def retry_seconds(self, request: str) -> int:
        """0 if a request of this kind may wait for its outcome, else when to come again: that is counted.

        0 too while Redis does not say how old the queue is.
        """
        if self._looking is None and asyncio.get_running_loop().time() >= self._look_at:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.shield(self._looking)
        if self._retry_seconds:
            BUSY.labels(request).inc()
        return self._retry_seconds

    async def stop(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._note(await self._read())
        except (*QUEUE_ERRORS, OSError) as error:  # TimeoutError is an OSError
            if self._is_known:
                logger.warning("the age of the queue is unknown", error=f"{type(error).__name__}: {error}")
            self._is_known = False
            self._retry_seconds = 0
        finally:
            self._look_at = asyncio.get_running_loop().time() + LOOK_SECONDS
            self._looking = None

    def _note(self, waiting_seconds: float) -> None:
        is_busy = waiting_seconds > self._limit_seconds
        if is_busy and not self._retry_seconds:
            logger.warning("busy: requests do not wait for outcomes", oldest_waiting_seconds=waiting_seconds)
        elif self._retry_seconds and not is_busy:
            logger.info("busy no more", oldest_waiting_seconds=waiting_seconds)
        self._is_known = True
        self._retry_seconds = min(ceil(waiting_seconds), MOST_RETRY_SECONDS) if is_busy else 0
