"""One to 32 workers on one queue, and whether it gets slower as they become more."""

from collections.abc import Iterator
from typing import Final

from benchmarks.arena import Arena
from benchmarks.contestant import Contestant, Measure, Measured
from benchmarks.counts import read_counts
from benchmarks.crews import Crew, Workers
from benchmarks.figures import Figures
from benchmarks.loads import baskets

PREFIX: Final = "workers-"
SIZES: Final = (1, 2, 4, 8, 16, 32)
KINDS: Final = {"bulk": 100, "single": 1}  # orders a job
# Times the orders of the slowest contestant, which has 2,000. Few would be over before all workers have some.
TIMES: Final = {"bulk": 12, "single": 5}


def many_workers(command: str) -> Iterator[Contestant]:
    """Each size in turn, on jobs of either kind; `command` starts a worker."""
    for size in SIZES:
        crew = Crew(command, size)
        for kind in KINDS:
            yield Contestant(f"{PREFIX}{kind}-{size}", crew, "orders/s", _measure(kind, size))


def label_of(kind: str, size: int) -> str:
    """For people."""
    return f"{kind}, {size} worker{'s' if size > 1 else ''}"


def _measure(kind: str, size: int) -> Measure:
    name, label = f"{PREFIX}{kind}-{size}", label_of(kind, size)

    async def measure(arena: Arena, workers: Workers, _: Figures) -> list[Measured]:
        load = baskets(arena.size.data, TIMES[kind] * arena.size.orders)
        await arena.prepare(load)
        before = await read_counts(arena.queue, workers)
        drained = await arena.drain(workers, load, KINDS[kind])
        after = await read_counts(arena.queue, workers)
        await arena.check(load)
        measured = {
            "deferred": (after.deferred - before.deferred, "jobs"),
            "again": (drained.again, "jobs"),
            "thrown-away": (after.runs - before.runs - len(load.orders), "orders"),
            "conflicts": (after.conflicts - before.conflicts, "statements"),
        }
        return [
            Measured(name, label, len(load.orders) / drained.seconds),
            *(Measured(f"{name}-{what}", f"{label}, {what}", *value) for what, value in measured.items()),
        ]

    return measure
