"""Explain in the log the deadlocks that this process has met: beside the work, one at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import structlog

from jobs.transaction import Reader
from worker.database.deadlock_words import one_line
from worker.database.deadlocks import Explanation, explain_latest
from worker.errors import LockstepError

logger = structlog.get_logger()

TellDeadlock = Callable[[Explanation, str], Awaitable[None]]  # with the job that was rolled back


class DeadlockLog:
    """Reads the server's status through a reader of its own, so that no transaction waits for it."""

    def __init__(
        self,
        open_reader: Callable[[], AbstractAsyncContextManager[Reader]],
        tell: TellDeadlock | None = None,
    ) -> None:
        self._open_reader = open_reader
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._forbidden = False

    def note(self, session_id: int, job: str) -> None:
        """Explain the deadlock whose victim was this session: at once and in the background; never raises.

        While one is being explained others are left out: in a storm of deadlocks the status is no help.
        """
        if not self._forbidden and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._explain(session_id, job))

    async def close(self) -> None:
        """Give up what is not explained yet."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _explain(self, session_id: int, job: str) -> None:
        try:
            async with self._open_reader() as reader:
                explanation = await explain_latest(reader)
            # Another deadlock may have come since; those of GET_LOCK and of metadata never stand there.
            if explanation and explanation.involves(session_id):
                logger.info("deadlock", job=job, explanation=one_line(explanation))
                if self._tell:
                    await self._tell(explanation, job)
        except LockstepError as error:
            self._forbidden = True  # and it is said once
            logger.info("deadlocks are not explained", error=str(error))
        except Exception as error:  # noqa: BLE001  # a log line is worth no failure
            logger.debug("deadlock not explained", job=job, error=str(error))
