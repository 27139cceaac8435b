"""The last five minutes, from the records of their seconds."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isinf
from typing import Final

from jobs.outbox import KINDS_OF_STATUS
from worker.queue.seconds import JOBS, Record, unpacked

HISTORY_SECONDS: Final = 300
WINDOW_SECONDS: Final = 60
LATENCY_SECONDS: Final = 10  # of the percentiles: long enough for a p99, short enough to see it move
ORDERS: Final = frozenset({"placed", "rejected"})

Point = tuple[float, float | None, int | None]  # of the curves: time, orders per second, jobs in the queue
Buckets = Counter[tuple[float, float]]  # of a histogram, by their bounds


@dataclass(frozen=True, slots=True)
class Latency:
    """From enqueue to outcome, in seconds, within the buckets that the workers count in."""

    jobs: int
    p50: float
    p95: float
    p99: float


class Recent:
    """What happened in the last five minutes, in all workers, also in those that have died since."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self._jobs: dict[int, int] = {}  # in the queue, as this reader has seen it
        self._products: Counter[int] = Counter()  # of the last WINDOW_SECONDS
        self._now = 0

    def unread(self, now: int) -> range:
        """The seconds whose records are to be read: those that were not over, or not there, when they were read last."""
        return range(max(min(self._now, now), now - HISTORY_SECONDS), now + 1)

    def add(self, second: int, record: Record) -> None:
        """A record of those that are unread, in the place of what was there of it before."""
        self._forget_products(second)
        self._products.update(unpacked(record.products))
        self._records[second] = record

    def go_on(self, now: int, jobs: int) -> None:
        """All that was unread is added, and there are so many jobs in the queue."""
        self._jobs[now] = jobs
        self._now = now
        for second in [second for second in self._records if not now - WINDOW_SECONDS < second <= now]:
            self._forget_products(second)
        for second in [second for second in self._records if not now - HISTORY_SECONDS <= second <= now]:
            del self._records[second]
            self._jobs.pop(second, None)

    def _forget_products(self, second: int) -> None:
        record = self._records.get(second)
        if record and record.products:
            self._records[second] = record._replace(products=b"")
            for product_id, orders in Counter(unpacked(record.products)).items():
                self._products[product_id] -= orders
                if not self._products[product_id]:
                    del self._products[product_id]

    def points(self) -> list[Point]:
        """One at the end of each second that is over and of which something is known."""
        return [
            (second + 1, _orders(record), self._jobs.get(second, record.counts.get(JOBS)))
            for second, record in sorted(self._records.items())
            if second < self._now and (record.counts or second in self._jobs)
        ]

    def orders_per_second(self) -> int:
        """In the last second that is over."""
        record = self._records.get(self._now - 1)
        return _orders(record) if record else 0

    def outcomes(self) -> Counter[str]:
        """How many of each within WINDOW_SECONDS: of orders by their events, of all else as the workers count them."""
        orders: Counter[str] = Counter()
        for record in self._last(WINDOW_SECONDS):
            for field, count in record.counts.items():
                if field.partition(":")[0] in KINDS_OF_STATUS:
                    orders[field] += count
        return orders + self._counted("outcome")

    def placed(self) -> int:
        """How many orders were placed within WINDOW_SECONDS."""
        return sum(record.counts.get("placed", 0) for record in self._last(WINDOW_SECONDS))

    def hottest(self, size: int) -> list[tuple[int, int]]:
        """The products that most of those took, and how many orders took each."""
        return self._products.most_common(size)

    def conflicts(self) -> Counter[str]:
        """Within WINDOW_SECONDS, by `code:statement`."""
        return self._counted("conflict")

    def deferred(self) -> int:
        """How often a job was put off within WINDOW_SECONDS."""
        return self._counted("deferred").total()

    def latency(self) -> Latency | None:
        """Of the jobs that ended within LATENCY_SECONDS; None where there were none."""
        counts: Buckets = Counter()
        for bounds, count in self._counted("latency", LATENCY_SECONDS).items():
            lower, _, upper = bounds.partition(":")
            with suppress(ValueError):  # of another version
                counts[float(lower), float(upper)] += count
        if not counts:
            return None
        return Latency(counts.total(), *(percentile(counts, percent) for percent in (50, 95, 99)))

    def _last(self, seconds: int) -> Iterator[Record]:
        return (record for second, record in self._records.items() if second > self._now - seconds)

    def _counted(self, group: str, seconds: int | None = None) -> Counter[str]:
        counts: Counter[str] = Counter()
        for record in self._last(seconds or WINDOW_SECONDS):
            for field, count in record.counts.items():
                name, _, rest = field.partition(":")
                if name == group:
                    counts[rest] += count
        return counts


def _orders(record: Record) -> int:
    return sum(count for field, count in record.counts.items() if field.partition(":")[0] in ORDERS)


def percentile(counts: Mapping[tuple[float, float], int], percent: float) -> float:
    """Read off a histogram as if the values of each bucket were spread evenly; of the open one, its lower bound."""
    wanted, below = sum(counts.values()) * percent / 100, 0
    for (lower, upper), count in sorted(counts.items()):
        if count and below + count >= wanted:
            return lower if isinf(upper) else min(upper, lower + (upper - lower) * (wanted - below) / count)
        below += count
    raise ValueError("a histogram of nothing has no percentile")
