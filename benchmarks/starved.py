"""Three workers with a nice value of 10, beside processes that only burn CPU."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from arq.constants import default_queue_name

from benchmarks.arena import Arena
from benchmarks.burners import burning, wait_until_they_burn
from benchmarks.contestant import Contestant, Measure, Measured
from benchmarks.counts import read_counts
from benchmarks.cpu import cpu_seconds_of_trees
from benchmarks.crews import ROOT, Crew, Workers
from benchmarks.drain import (
    STAGED,
    claimed_again,
    fill,
    read_all_timings,
    until_empty,
)
from benchmarks.figures import Figures
from benchmarks.loads import Load, short_baskets

PREFIX: Final = "starved-"
WORKERS: Final = 3
NICE: Final = 10
BURNERS: Final = (0, 4, 8, 16)
LINES: Final = 6  # of an order
TIMES: Final = (
    8  # the orders of the slowest contestant, which has 2,000: too many for the time beside burners
)
DRAIN_SECONDS: Final = 600  # of what is left afterwards, beside whatever else keeps a machine busy
LOOK_SECONDS: Final = 0.1  # seldom: the benchmark starves too


class Window(NamedTuple):
    """What was done from the moment when the filled queue appeared to the end of the time, or of the queue."""

    begin: float  # Unix time
    end: float
    delivered: int  # orders that have their outcome
    cpu_seconds: float  # of the workers, the database and Redis


def starved(command: str) -> Iterator[Contestant]:
    """Beside more and more burners; `command` starts a worker."""
    for burners in BURNERS:
        yield starved_beside(f"{PREFIX}{burners}", f"{burners} burners", command, burners)


def starved_beside(name: str, label: str, command: str, burners: int, project: Path = ROOT) -> Contestant:
    """Single orders for three workers of this checkout, which start with the contestant."""
    crew = Crew(command, WORKERS, project, NICE, burners)
    return Contestant(name, crew, "orders/s", _measure(name, label, crew))


def _measure(name: str, label: str, crew: Crew) -> Measure:
    async def measure(arena: Arena, workers: Workers, _: Figures) -> list[Measured]:
        load = short_baskets(arena.size.data, LINES, TIMES * arena.size.orders)
        await arena.prepare(load)
        await fill(arena.staging, load.orders, 1)
        await workers.wait_until_idle()
        with burning(crew.burners) as burners:
            await wait_until_they_burn(burners)
            window = await _watch(arena, workers, load)
        await until_empty(arena.queue, workers, DRAIN_SECONDS)
        await arena.check(load)
        timings = await read_all_timings(arena.queue, len(load.orders))
        counts = await read_counts(arena.queue, workers)
        thrown_away = counts.runs - len(load.orders)  # each has its one outcome by now
        finished = [timing.finished_ms / 1000 for timing in timings]
        measured = {
            **figures(window, thrown_away, finished),
            "deferred": (counts.deferred, "jobs"),
            "again": (claimed_again(timings), "jobs"),
            "conflicts": (counts.conflicts, "statements"),
        }
        return [Measured(f"{name}-{what}", f"{label}, {what}", *value) for what, value in measured.items()]

    return measure


async def _watch(arena: Arena, workers: Workers, load: Load) -> Window:
    queue, jobs = arena.queue, len(load.orders)
    servers = [int((arena.folder / f"{name}.pid").read_text(encoding="utf-8")) for name in ("mysql", "redis")]
    trees = [*servers, *(process.pid for process in workers.processes)]
    begin, used = time.time(), cpu_seconds_of_trees(trees)
    await queue.rename(STAGED, default_queue_name)
    deadline, left = time.monotonic() + arena.size.starved_seconds, jobs
    while left and time.monotonic() < deadline:
        workers.check_alive()
        await asyncio.sleep(LOOK_SECONDS)
        left = await queue.zcard(default_queue_name)
    return Window(begin, time.time(), jobs - left, cpu_seconds_of_trees(trees) - used)


def figures(window: Window, thrown_away: int, finished: Sequence[float]) -> dict[str, tuple[float, str]]:
    """What it came to: a value and its unit each.

    So many runs of orders in batches came to no outcome; `finished` is when each order got its own (Unix time).
    """
    moments = sorted(moment for moment in finished if moment <= window.end)
    all_done = len(moments) == len(finished)
    end = moments[-1] if all_done else window.end
    runs = 1 + thrown_away / max(1, window.delivered)
    nothing = not window.delivered and not thrown_away  # no run of a batch has ended: there is no ratio
    return {
        "delivered": (window.delivered, "orders"),
        "rate": (window.delivered / (end - window.begin), "orders/s"),
        **({} if nothing else {"runs": (runs, "per outcome")}),
        "thrown-away": (thrown_away, "orders"),
        "longest-gap": (max(late - early for early, late in pairwise([window.begin, *moments, end])), "s"),
        "longest-wait": (end - window.begin, "s"),
        "per-cpu-second": (window.delivered / window.cpu_seconds, "orders"),
    }
