"""All who watch share one reading a second. Nobody watches: nothing is read."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from worker.queue.background import Background
from worker.web.beats import Beat
from worker.web.problems import Problem

logger = structlog.get_logger()

BEAT_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 60.0  # who reloads the page, or opens another, need not wait for a first beat
MOST_WATCHERS: Final = 100


class Source(Protocol):
    """Where beats come from."""

    async def read(self) -> Beat:
        """The next one."""
        ...


class Watch:
    """Reads a beat a second while somebody watches, and a little longer."""

    def __init__(self, open_source: Callable[[], Source]) -> None:
        """Each time that somebody watches after a while, a source is opened."""
        self._open_source = open_source
        self._background = Background(self._read)
        self._watchers = 0
        self._left_at = 0.0
        self._ended = False
        self._next: asyncio.Future[Beat | None] | None = None
        self.latest: Beat | None = None  # while it reads

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Watch during the block. Raises Problem where there are MOST_WATCHERS already."""
        if self._watchers >= MOST_WATCHERS:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, f"there are {MOST_WATCHERS} who watch: come again later"
            )
        self._watchers += 1
        self._background.wake()
        try:
            yield
        finally:
            self._watchers -= 1
            self._left_at = asyncio.get_running_loop().time()

    async def next(self) -> Beat | None:
        """The next beat; None where there will be no other. Who is busy meanwhile misses beats, and holds up nobody."""
        if self._ended:
            return None
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._next)

    def end(self) -> None:
        """Let everybody who watches go, and nobody in any more."""
        self._ended = True
        self._tell(None)

    async def stop(self) -> None:
        """End the reading."""
        await self._background.stop()

    async def _read(self) -> None:
        source = self._open_source()
        try:
            while self._is_watched():
                try:
                    self.latest = await source.read()
                except Exception:  # a bug: it must not leave everybody waiting in silence for ever
                    logger.exception("no beat for the live page")
                else:
                    self._tell(self.latest)
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            self.latest = None

    def _is_watched(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._watchers > 0 or now - self._left_at < LINGER_SECONDS

    def _tell(self, beat: Beat | None) -> None:
        if self._next is not None:
            self._next.set_result(beat)
            self._next = None
