import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from worker.errors import LockstepError


class Background:
    """A task of a client that is started when there is work, and ends when there is none."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def wake(self) -> None:
        """Start it, unless it runs. Raises LockstepError where nobody would end it any more."""
        if self._stopped:
            raise LockstepError("the client is closed: use it inside its `async with`, or open another one.")
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Cancel it for good, and wait for its end."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
