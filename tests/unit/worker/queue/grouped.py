"""A batch function that only records what it is given, and turns that come when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from pymysql import err

from worker.database.retry import LOCK_WAIT_TIMEOUT, DatabaseError, Kind
from worker.queue.batch_size import MOST, BatchSize
from worker.queue.group_commit import GroupCommit

MOST_WEIGHT: Final = 5000
NEVER: Final = 3600.0
BUG: Final = DatabaseError("insert_orders", err.DataError(1264, "Out of range value"))
OUTAGE: Final = DatabaseError("commit", err.OperationalError(2013, "Lost connection"))
DEADLOCK: Final = DatabaseError("lock_stock", err.OperationalError(1213, "Deadlock found"))
LOCK_WAIT: Final = DatabaseError("lock_stock", err.OperationalError(LOCK_WAIT_TIMEOUT, "Lock wait timeout"))
assert (BUG.kind, OUTAGE.kind, DEADLOCK.kind, LOCK_WAIT.kind) == (
    Kind.BUG,
    Kind.OUTAGE,
    Kind.CONFLICT,
    Kind.CONFLICT,
)
Results = list[str | Exception]
whose: Final = ContextVar("whose", default="no job's")


@dataclass(frozen=True)
class Ask:
    """A request: no order."""

    number: int
    weight: int = 1
    of: str = ""


class Work:
    """Each batch waits until it may go on, and fails if it holds a request that is to fail."""

    most_weight = MOST_WEIGHT

    def __init__(self) -> None:
        self.batches: list[list[Ask]] = []
        self.probes: list[list[Ask]] = []
        self.traceparents: list[dict[Any, str]] = []
        self.contexts: set[str] = set()
        self.running = self.most_at_a_time = 0
        self.go = asyncio.Event()
        self.failing: dict[Ask, Exception] = {}
        self.held: set[Ask] = set()
        self.probing_fails: Exception | None = None

    def key(self, request: Ask) -> Hashable:
        return request.number

    def weight(self, request: Ask) -> int:
        return request.weight

    async def run(self, requests: Sequence[Ask], traceparents: Mapping[Any, str]) -> list[str]:
        self.batches.append(list(requests))
        self.traceparents.append(dict(traceparents))
        self.contexts.add(whose.get())
        self.running += 1
        self.most_at_a_time = max(self.most_at_a_time, self.running)
        await self.go.wait()
        await asyncio.sleep(0)  # as long as the shortest round trip
        self.running -= 1
        for request in requests:
            if error := self.failing.get(request):
                raise error
        return [outcome(request) for request in requests]

    async def find_free(self, requests: Sequence[Ask]) -> list[bool]:
        self.probes.append(list(requests))
        if self.probing_fails:
            raise self.probing_fails
        return [request not in self.held for request in requests]

    def holding(self, request: Ask) -> int:
        """How many batches have held this request."""
        return sum(request in batch for batch in self.batches)


class Gate:
    """Turns that all have at once while it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.asked = self.left = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.asked += 1
        await self.open.wait()
        try:
            yield
        finally:
            self.left += 1


Group = GroupCommit[Ask, str]


def group_of(
    work: Work, *, turns: Gate | None = None, size: BatchSize | None = None, wait_seconds: float = NEVER
) -> Group:
    return GroupCommit(work, turns or Gate(), size or BatchSize(MOST), wait_seconds=wait_seconds)


def outcome(request: Ask) -> str:
    return f"{request.of}{request.number} done"


def outcomes(requests: Iterable[Ask]) -> Results:
    return [outcome(request) for request in requests]


def asks(count: int, weight: int = 1, of: str = "") -> list[Ask]:
    return [Ask(number, weight, of) for number in range(count)]


def start(results: Coroutine[Any, Any, Results]) -> asyncio.Task[Results]:
    return asyncio.create_task(results)


async def run(group: Group, requests: Sequence[Ask], *, again: bool = False) -> Results:
    return await group.run_each(requests, [None] * len(requests), again=again)


async def until_begun(work: Work, count: int) -> None:
    """So many batches."""
    while len(work.batches) < count:
        await asyncio.sleep(0)


async def turn_of_the_loop(times: int = 10) -> None:
    """Let everything happen that can happen without a further event."""
    for _ in range(times):
        await asyncio.sleep(0)
