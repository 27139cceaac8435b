"""Group commit: the requests that wait at this moment share one transaction.

There is no timer. While one transaction runs, or waits for its turn, the next batch gathers: a request alone starts at
once, and of a thousand each few hundred cost one commit. What a batch does is given: nothing here knows orders.
"""

import asyncio
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from worker import metrics, tracing
from worker.database.retry import LOCK_WAIT_TIMEOUT, DatabaseError, Kind
from worker.queue.batch_size import BatchSize
from worker.queue.turns import Turns

logger = structlog.get_logger()

# Requests, and their weight, of one job in a batch: a big job leaves room for the small ones.
MAX_SHARE: Final = 100
SHARES: Final = 5  # of the weight of a batch
# After a wait for a row that was in vain, batches leave out the requests whose rows are held. Not for longer: the rows may
# be held by the batch of another worker, for a moment, and each time by another.
PROBE_SECONDS: Final = 5.0

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")
Asked_contra = TypeVar("Asked_contra", contravariant=True)
Answered_co = TypeVar("Answered_co", covariant=True)
Traceparents = Mapping[Any, str]  # by the keys of requests


class Batched(Protocol[Asked_contra, Answered_co]):
    """What a batch does with its requests."""

    most_weight: int  # of a batch

    def key(self, request: Asked_contra) -> Hashable:
        """By which a request and its traceparent belong together."""
        ...

    def weight(self, request: Asked_contra) -> int:
        """What it adds to a statement, as its lines."""
        ...

    async def run(
        self, requests: Sequence[Asked_contra], traceparents: Traceparents
    ) -> Sequence[Answered_co]:
        """All of them in one transaction: an outcome per request, in their order. Raises DatabaseError."""
        ...

    async def find_free(self, requests: Sequence[Asked_contra]) -> Sequence[bool]:
        """Of each, whether no other transaction holds one of its rows now. Raises DatabaseError."""
        ...


class OverdueError(Exception):
    """A request was in no batch within the time that it may wait for one."""


@dataclass(slots=True, eq=False)
class _Job:
    """A job with requests in a batch is neither given up nor cancelled: it gets the outcome of all of them."""

    since: float
    has_begun: bool = False


@dataclass(slots=True, eq=False)
class _Share(Generic[Request, Outcome]):
    """Requests of one job that go into the same batch, and their results, which it may no longer wait for."""

    asked: "Sequence[tuple[Request, str | None]]"  # with their traceparents
    weight: int
    job: _Job
    results: "asyncio.Future[list[Outcome | Exception]]"

    def answer(self, results: "list[Outcome | Exception]") -> None:
        if not self.results.done():
            self.results.set_result(results)


class GroupCommit(Generic[Request, Outcome]):
    """Runs the requests of concurrent jobs together."""

    def __init__(
        self, work: Batched[Request, Outcome], turns: Turns, size: BatchSize, *, wait_seconds: float
    ) -> None:
        """`wait_seconds`: a request that is in no batch after these is given up."""
        self._work = work
        self._turns = turns
        self._size = size
        self._wait_seconds = wait_seconds
        # First tries, and later ones. What has failed before may fail again, and must not do so to others.
        self._lanes: list[list[_Share[Request, Outcome]]] = [[], []]
        self._lane = 0
        self._probes_until = 0.0
        self._working: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run_each(
        self, requests: Sequence[Request], traceparents: Sequence[str | None], *, again: bool = False
    ) -> list[Outcome | Exception]:
        """An outcome per request, or what went wrong with it, in the order of the arguments.

        A caller that is cancelled before any of its requests is in a batch leaves no trace. After that it gets its
        results all the same.
        """
        loop = asyncio.get_running_loop()
        job = _Job(loop.time())
        pages = self._pages(zip(requests, traceparents, strict=True))
        shares = [_Share(*page, job, loop.create_future()) for page in pages]
        if not shares:
            return []
        self._lanes[again] += shares
        if self._working is None or self._working.done():  # in the context of none of those that it serves
            self._working = loop.create_task(self._work_off(), context=Context())
        if self._timer is None:
            self._timer = loop.call_later(self._wait_seconds, self._give_up)
        try:
            return [*chain.from_iterable([await asyncio.shield(share.results) for share in shares])]
        except asyncio.CancelledError:
            if job.has_begun:
                return [*chain.from_iterable([await share.results for share in shares])]
            for share in shares:
                share.results.cancel()
            raise

    async def run(self, request: Request, *, again: bool = False) -> Outcome:
        """The same of one request, in the trace of the caller; raises what went wrong."""
        (result,) = await self.run_each([request], [tracing.current()], again=again)
        if isinstance(result, Exception):
            raise result
        return result

    async def close(self) -> None:
        """Wait for the batch that runs, and for what waits behind it."""
        if self._timer:
            self._timer.cancel()
        if self._working:
            await self._working

    async def _work_off(self) -> None:
        while any(self._lanes):
            async with self._turns.turn():
                lane = self._next_lane()
                if batch := self._next_batch(lane):
                    await self._run(batch)

    def _next_lane(self) -> int:
        """By turns, if requests wait in both."""
        self._lanes = [[share for share in lane if not share.results.done()] for lane in self._lanes]
        self._lane = int(bool(self._lanes[1]) and not (self._lanes[0] and self._lane))
        return self._lane

    def _next_batch(self, number: int) -> list[_Share[Request, Outcome]]:
        """The oldest share, so that none is passed over for ever, and the smallest of the others that have room."""
        lane = self._lanes[number]
        others = sorted(lane[1:], key=lambda share: len(share.asked))
        batch: list[_Share[Request, Outcome]] = []
        requests = weight = 0
        for share in lane[:1] + others:
            requests, weight = requests + len(share.asked), weight + share.weight
            if batch and (requests > self._size.now or weight > self._work.most_weight):
                break
            batch.append(share)
        for share in batch:
            share.job.has_begun = True
        taken = set(batch)
        self._lanes[number] = [share for share in lane if share not in taken]
        return batch

    def _give_up(self) -> None:
        """What has waited for too long; the timer is for the next."""
        loop = asyncio.get_running_loop()
        too_old = loop.time() - self._wait_seconds
        idle = [share for lane in self._lanes for share in lane if not share.job.has_begun]
        for share in idle:
            if share.job.since <= too_old:
                waited = OverdueError(f"it was in no batch within {self._wait_seconds} s")
                share.answer([waited] * len(share.asked))
        left = [share.job.since for share in idle if not share.results.done()]
        self._timer = loop.call_at(min(left) + self._wait_seconds, self._give_up) if left else None

    async def _run(self, batch: Sequence[_Share[Request, Outcome]]) -> None:
        requests = [request for share in batch for request, _ in share.asked]
        metrics.BATCH_ORDERS.observe(len(requests))
        asked = chain.from_iterable(share.asked for share in batch)
        traceparents = {self._work.key(request): traceparent for request, traceparent in asked if traceparent}
        links = dict.fromkeys(traceparents.values())
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            with tracing.span("group commit", "INTERNAL", links=links, orders=len(requests)):
                run = self._run_free if began < self._probes_until else self._run_all
                results = iter(await run(requests, traceparents))
            self._size.took(len(requests), clock() - began)
            for share in batch:
                share.answer(list(islice(results, len(share.asked))))
        finally:
            for share in batch:
                share.results.cancel()  # if this was cancelled: else it has been answered

    async def _run_all(
        self, requests: Sequence[Request], traceparents: Traceparents
    ) -> list[Outcome | Exception]:
        """Together, if they can be: else without those that cannot."""
        try:
            return [*await self._work.run(requests, traceparents)]
        except Exception as error:  # noqa: BLE001  # it is raised to the jobs whose requests it concerns
            kind = error.kind if isinstance(error, DatabaseError) else Kind.BUG
            if isinstance(error, DatabaseError) and error.code == LOCK_WAIT_TIMEOUT:
                self._size.shrink()
                self._probes_until = asyncio.get_running_loop().time() + PROBE_SECONDS
            if len(requests) == 1 or kind is Kind.OUTAGE:
                return [error] * len(requests)
            logger.warning("batch fails", orders=len(requests), error=f"{type(error).__name__}: {error}")
            if kind is Kind.CONFLICT:
                return await self._run_free(requests, traceparents, error)
            half = len(requests) // 2
            return [
                *await self._run_all(requests[:half], traceparents),
                *await self._run_all(requests[half:], traceparents),
            ]

    async def _run_free(
        self, requests: Sequence[Request], traceparents: Traceparents, conflict: Exception | None = None
    ) -> list[Outcome | Exception]:
        """Only those for which no other transaction holds a row: the others are for a later try."""
        try:
            free = await self._work.find_free(requests)
        except Exception as error:  # noqa: BLE001  # as above: no job may wait for ever
            return [error] * len(requests)
        if all(free):  # what was in the way is no row of theirs, or it is free by now
            return [conflict] * len(requests) if conflict else await self._run_all(requests, traceparents)
        held = conflict or DatabaseError(
            "find_free", TimeoutError("another transaction holds a row of it"), Kind.CONFLICT
        )
        free_requests = [request for request, is_free in zip(requests, free, strict=True) if is_free]
        results = iter(await self._run_all(free_requests, traceparents) if free_requests else [])
        return [next(results) if is_free else held for is_free in free]

    def _pages(
        self, asked: Iterable[tuple[Request, str | None]]
    ) -> Iterator[tuple[list[tuple[Request, str | None]], int]]:
        """Shares of a job, and the weight of each."""
        page: list[tuple[Request, str | None]] = []
        total = 0
        most, most_weight = min(MAX_SHARE, self._size.now), self._work.most_weight // SHARES
        for each in asked:
            weight = self._work.weight(each[0])
            if page and (len(page) == most or total + weight > most_weight):
                yield page, total
                page, total = [], 0
            page.append(each)
            total += weight
        if page:
            yield page, total
