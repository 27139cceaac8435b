"""Place orders in this process, without a queue: what the tables cost, and nothing else."""

import asyncio
import random
import statistics
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from signal import SIGCONT, SIGSTOP
from typing import Final
from uuid import UUID, uuid4

from structlog.testing import capture_logs

from jobs.orders.requests import PlaceOrder
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue.idempotency import place_once

AT_ONCE: Final = 8  # transactions, as the connections of one worker
BULK: Final = 100  # orders a transaction, where they come in bulk
TURNS_SECONDS: Final = 60.0
_VERSION_7: Final = 7 << 76 | 0b10 << 62


@dataclass(slots=True)
class Figures:
    """What was measured, by name, round by round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Another round."""
        self.rounds.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """The figure that counts."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times as much, by the medians."""
        return self.median(name) / self.median(other)


def new_ids() -> Iterator[UUID]:
    """UUIDs of version 7 from now on, a millisecond each."""
    first = time.time_ns() // 1_000_000
    for number in count():
        yield UUID(int=(first + number) << 80 | _VERSION_7 | random.getrandbits(62))  # no secret


def random_ids() -> Iterator[UUID]:
    """UUIDs of version 4: they go anywhere in the tables."""
    while True:
        yield uuid4()


WAYS: Final[dict[str, tuple[int, Callable[[], Iterator[UUID]]]]] = {
    "one a transaction": (1, new_ids),
    f"{BULK} a transaction": (BULK, new_ids),
    f"{BULK} a transaction, random ids": (BULK, random_ids),
}


async def place(database: Database, baskets: Sequence[PlaceOrder], size: int, ids: Iterator[UUID]) -> float:
    """Place every basket under a new id, `size` a transaction; milliseconds an order."""
    orders = [basket.model_copy(update={"order_id": next(ids), "placed_at": None}) for basket in baskets]
    batches = iter([orders[start : start + size] for start in range(0, len(orders), size)])

    async def work() -> None:
        for batch in batches:
            outcomes = await place_once(database, batch, job="scale")
            if any(outcome.status != "placed" for outcome in outcomes):
                raise LockstepError("an order of the benchmark was not placed: its stock is too small.")

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return 1000 * (time.perf_counter() - started) / len(baskets)


async def compare(
    databases: dict[str, Database], baskets: Sequence[PlaceOrder], rounds: int, figures: Figures
) -> None:
    """Milliseconds an order, the databases in turns; a first round warms up and does not count."""
    for number in range(rounds + 1):
        for way, (size, ids) in WAYS.items():
            for name in sorted(databases, reverse=bool(number % 2)):
                cost = await place(databases[name], baskets, size, ids())
                if number:
                    figures.add(f"{way}, {name}", cost)


async def place_beside(
    process: Process,
    name: str,
    place_few: Callable[[], Awaitable[float]],
    history_length: Callable[[], Awaitable[int]],
    figures: Figures,
) -> None:
    """What placing costs while another program works, and while it is halted, in turns; then it is ended."""
    started = time.perf_counter()
    with capture_logs() as logs:
        while process.returncode is None and time.perf_counter() - started < TURNS_SECONDS:
            figures.add(f"beside {name}", await place_few())
            figures.add(f"history beside {name}", await history_length())
            with suppress(ProcessLookupError):  # it has ended
                process.send_signal(SIGSTOP)
                figures.add(f"halted {name}", await place_few())
                process.send_signal(SIGCONT)
    with suppress(ProcessLookupError):
        process.terminate()
    figures.add(f"conflicts beside {name}", sum(entry["event"] == "conflict" for entry in logs))
