"""The relay: carries events from the outbox to the stream. Each worker runs one, and any number may run at a time.

It may stop at any point. An event leaves the outbox in the transaction that has published it; where that is not
committed, the stream knows the event when it comes again.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs.locks import lock_events
from jobs.outbox import NextEvent, RecordedEvent, next_events, remove_published
from jobs.transaction import Transaction
from worker import metrics
from worker.database.retry import DatabaseError
from worker.database.transactions import Database, Isolation, Look
from worker.queue.background import Background
from worker.queue.crew import Crew

logger = structlog.get_logger()

MAX_EVENTS: Final = 500  # of one transaction, and of one script, which holds up Redis for some milliseconds
MAX_BYTES: Final = 1024 * 1024
GATHER_SECONDS: Final = 0.1  # between batches that are not full, so that small commits share one
IDLE_SECONDS: Final = 1.0  # for what other workers have left behind; commits of its own worker wake a relay
RETRY_SECONDS: Final = 1.0
STOP_SECONDS: Final = 5.0  # for what is there when it is stopped
LATE_SECONDS: Final = 10.0  # an event that waits for longer is worth a line in the log
# Events that were published long ago are not read over again: while somebody has an old snapshot open, the server keeps
# them at the front of the table. Smaller ids that are committed late are a little behind, or are found by a sweep.
BEHIND_IDS: Final = 10_000
SWEEP_SECONDS: Final = 10.0


class Stream(Protocol):
    """Where events are published."""

    async def publish(self, events: list[RecordedEvent]) -> int:
        """Publish each of these once, however often it is asked; how many were new."""
        ...


class Relay:
    """Publishes what this worker, and any other, has recorded."""

    def __init__(self, database: Database, stream: Stream, crew: Crew | None = None) -> None:
        """`crew`: the workers that have a relay each; absent: this one alone."""
        self._database = database
        self._crew = crew or Crew()
        self._stream = stream
        self._background = Background(self._work)
        self._has_begun = False
        self._is_empty = False  # the outbox, when it last looked
        self._last_id = 0
        self._held_id = 0  # the first event that another relay held at the last look; 0: none
        self._swept_at = float("-inf")
        self._troubled = False
        self.lag_seconds = 0.0  # the age of the oldest event that waits, when this relay last looked

    def start(self) -> None:
        """Run until `stop`, whatever happens to the servers."""
        self._has_begun = True
        self._background.wake()

    async def stop(self) -> None:
        """Publish what is there, for at most STOP_SECONDS: what is left is for another relay, or for the next one."""
        await self._background.stop()
        if not self._has_begun:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while await self.relay_batch() != IDLE_SECONDS and not self._is_empty:
                    pass
        except Exception as error:  # noqa: BLE001  # as in its work
            self._tell(error)

    async def _work(self) -> None:
        while True:
            self._database.committed.clear()
            try:
                rest_seconds = await self.relay_batch()
            except Exception as error:  # noqa: BLE001  # it must outlive every outage; events wait in the outbox
                self._tell(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._tell(None)
            if rest_seconds:
                await asyncio.sleep(rest_seconds)
                if self._held_id:
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._database.committed.wait()

    async def relay_batch(self) -> float:
        """Publish the oldest events that no other relay holds; for how long to rest then.

        Another relay at work is enough: what it holds is passed over only if it holds the same at the next look.
        """
        look = Look(self._database)
        ready = await next_events(look, after=self._start(), size=MAX_EVENTS)
        self._measure(ready)
        self._is_empty = not ready
        first_id = ready[0].event_id if ready else 0
        while ready:
            ids = list(_as_many_as_fit(ready))
            events = await self._database.transact(
                partial(self._publish, event_ids=ids),
                job="relay",
                isolation=Isolation.READ_COMMITTED,
                attempts_seconds=0,
            )
            if events:
                self._held_id = 0 if ids[0] == first_id else first_id
                self._last_id = max(self._last_id, events[-1].event_id)
                return 0 if len(ids) < len(ready) or len(ready) == MAX_EVENTS else GATHER_SECONDS
            if self._held_id != first_id:
                self._held_id = first_id
                return self._crew.rest(GATHER_SECONDS, IDLE_SECONDS)
            ready = await next_events(look, after=ids[-1], size=MAX_EVENTS)
        self._held_id = first_id
        return IDLE_SECONDS if first_id else GATHER_SECONDS

    async def _publish(self, transaction: Transaction, event_ids: list[int]) -> list[RecordedEvent]:
        events = await lock_events(transaction, event_ids)
        if events:
            await self._stream.publish(events)
            await remove_published(transaction, events)
        return events

    def _start(self) -> int:
        now = asyncio.get_running_loop().time()
        if now - self._swept_at < SWEEP_SECONDS:
            return max(0, self._last_id - BEHIND_IDS)
        self._swept_at = now
        return 0

    def _measure(self, ready: Iterable[NextEvent]) -> None:
        was_late = self.lag_seconds > LATE_SECONDS
        self.lag_seconds = max((event.age_microseconds for event in ready), default=0) / 1e6
        metrics.OUTBOX_LAG_SECONDS.set(self.lag_seconds)
        is_late = self.lag_seconds > LATE_SECONDS
        if is_late and not was_late:
            logger.warning("events are late", lag_seconds=round(self.lag_seconds, 1))
        if was_late and not is_late:
            logger.info("events are in time again", lag_seconds=round(self.lag_seconds, 1))

    def _tell(self, error: Exception | None) -> None:
        """Once where it begins, and once where it ends."""
        if error and not self._troubled:
            outage = isinstance(error, (DatabaseError, RedisError, OSError))
            logger.warning("events wait", error=f"{type(error).__name__}: {error}", exc_info=not outage)
        if self._troubled and not error:
            logger.info("events go on")
        self._troubled = error is not None


def _as_many_as_fit(ready: Iterable[NextEvent]) -> Iterator[int]:
    """One in any case."""
    left = MAX_BYTES
    for event in ready:
        yield event.event_id
        left -= event.body_bytes
        if left <= 0:
            return
