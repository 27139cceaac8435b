"""What the workers do now, from what each has counted since it started."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isinf
from typing import Final, TypeVar

from worker.queue.vitals import Histogram, Vitals

WINDOW_SECONDS: Final = 60.0
RECENT_SECONDS: Final = 10.0  # of the percentiles: long enough for a p99, short enough to see it move
STALE_SECONDS: Final = 3.0  # a worker that has told nothing for longer does nothing that is known of
FORGET_SECONDS: Final = 3600.0  # and has no business here after this
Key = TypeVar("Key", str, float)


@dataclass(frozen=True, slots=True)
class Latency:
    """From enqueue to outcome, in seconds, within the buckets that the workers count in."""

    jobs: int
    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class _Known:
    vitals: Vitals
    changed_at: float
    orders_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class _Step:
    """What all workers did between two readings."""

    at: float
    outcomes: Counter[str]
    conflicts: Counter[str]
    latency: Counter[float]  # by upper bound, not added up


class Rates:
    """Turns readings of counters into rates. A worker that starts, or starts again, counts from nothing.

    Times of a worker are only compared with each other, so that no clock need agree with another.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._steps: deque[_Step] = deque()

    def add(self, workers: Iterable[Vitals], now: float) -> None:
        """The next reading. The first one is where counting begins; `now` is of any clock that never goes back."""
        step = _Step(now, Counter(), Counter(), Counter())
        for vitals in workers:
            known = self._known.get(vitals.id)
            before = known.vitals if known and known.vitals.started_at == vitals.started_at else None
            if before and before.at == vitals.at:
                continue  # it has told nothing new
            self._known[vitals.id] = new = _Known(vitals, now)
            if self._steps:
                seconds = vitals.at - before.at if before else now - self._steps[-1].at
                new.orders_per_second = max(0.0, _add(step, before, vitals) / seconds)
        self._steps.append(step)
        while self._steps[0].at <= now - WINDOW_SECONDS:
            self._steps.popleft()
        self._known = {
            key: known for key, known in self._known.items() if known.changed_at > now - FORGET_SECONDS
        }

    def orders_per_second(self, worker_id: str | None = None) -> float:
        """Of one worker, or of all, at this moment."""
        now = self._steps[-1].at
        return sum(
            known.orders_per_second
            for known in self._known.values()
            if worker_id in {None, known.vitals.id} and now - known.changed_at < STALE_SECONDS
        )

    def outcomes(self) -> Counter[str]:
        """How many of each within WINDOW_SECONDS, also of workers that have died since."""
        return sum((step.outcomes for step in self._steps), Counter())

    def conflicts(self) -> Counter[str]:
        """The same of conflicts, by `code:statement`."""
        return sum((step.conflicts for step in self._steps), Counter())

    def latency(self) -> Latency | None:
        """Of the jobs that ended within RECENT_SECONDS; None where there were none."""
        since = self._steps[-1].at - RECENT_SECONDS
        counts: Counter[float] = Counter()  # with its empty buckets, which say where the others begin
        for step in self._steps:
            if step.at > since:
                counts.update(step.latency)
        if not counts.total():
            return None
        return Latency(counts.total(), *(percentile(counts, percent) for percent in (50, 95, 99)))


def percentile(counts: Mapping[float, int], percent: float) -> float:
    """Read off all buckets of a histogram as if the values of each were spread evenly; of the open one, its lower bound."""
    wanted, below, lower = sum(counts.values()) * percent / 100, 0, 0.0
    for upper, count in sorted(counts.items()):
        if count and below + count >= wanted:
            return lower if isinf(upper) else min(upper, lower + (upper - lower) * (wanted - below) / count)
        below, lower = below + count, upper
    raise ValueError("a histogram of nothing has no percentile")


def is_order(outcome: str) -> bool:
    """Whether it is one of a new order."""
    return outcome.partition(":")[0] in {"placed", "rejected"}


def _add(step: _Step, before: Vitals | None, now: Vitals) -> int:
    """Add what a worker did since; how many orders that were."""
    outcomes = _since(before.outcomes if before else {}, now.outcomes)
    step.outcomes.update(outcomes)
    step.conflicts.update(_since(before.conflicts if before else {}, now.conflicts))
    step.latency.update(_since(_buckets(before.latency) if before else {}, _buckets(now.latency)))
    return sum(count for outcome, count in outcomes.items() if is_order(outcome))


def _since(before: Mapping[Key, int], now: Mapping[Key, int]) -> dict[Key, int]:
    return {key: count - before.get(key, 0) for key, count in now.items()}


def _buckets(histogram: Histogram) -> dict[float, int]:
    bounds, counts = (*histogram.bounds, inf), (0, *histogram.counts)
    return {bound: count - below for bound, (below, count) in zip(bounds, pairwise(counts), strict=True)}
