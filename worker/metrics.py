"""What this process counts: Prometheus reads it at /metrics, `worker.queue.vitals` tells it to every other process.

Each is counted where it happens. Labels are names of tasks, statements and outcomes, never of orders, so that there are
few of each. (`job` would be Prometheus's own.) docs/operations.md says what they mean.
"""

import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from jobs.contract import Outcome
from jobs.orders.outcomes import Rejected

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST  # of `exposition`
_SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each that says when it began


class Histogram(Collector):
    """prometheus_client's own costs some ten times as much, for a lock that one thread alone does not need."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), bounds: Sequence[float] = _SECONDS
    ) -> None:
        self.name = name
        self.bounds = bounds
        self._documentation = documentation
        self.labels = labels
        self._counts: dict[tuple[str, ...], list[int]] = {}  # by bucket, not added up
        self._sums: dict[tuple[str, ...], float] = {}
        REGISTRY.register(self)

    def observe(self, value: float, *labels: str) -> None:
        """Count one."""
        if labels not in self._counts:
            self._sums[labels] = 0.0
            self._counts[labels] = [0] * (len(self.bounds) + 1)
        self._counts[labels][bisect_left(self.bounds, value)] += 1
        self._sums[labels] += value

    @contextmanager
    def time(self, *labels: str) -> Iterator[None]:
        """How long the block takes, in seconds, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began, *labels)

    def cumulative(self) -> list[int]:
        """How many were at most as large as each bound, and of any size, over all labels."""
        counts = [sum(each) for each in zip(*self._counts.copy().values(), strict=True)]
        return list(accumulate(counts or [0] * (len(self.bounds) + 1)))

    def sum(self) -> float:
        """Of all values."""
        return sum(self._sums.copy().values())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """As Prometheus asks."""
        family = HistogramMetricFamily(self.name, self._documentation, labels=self.labels)
        bounds = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        for labels, counts in self._counts.copy().items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family


JOB_SECONDS: Final = Histogram("lockstep_job_seconds", "From enqueue to the outcome of a job.", ["task"])
OUTCOMES: Final = Counter("lockstep_outcomes_total", "Outcomes of requests.", ["task", "outcome", "reason"])
DEFERRED: Final = Counter("lockstep_deferred_jobs_total", "Jobs put off for another try.", ["task"])
BURIED: Final = Counter("lockstep_buried_jobs_total", "Jobs that became dead letters.", ["task"])
DEAD_LETTERS: Final = Gauge("lockstep_dead_letters", "Dead letters that wait for somebody.")

BATCH_ORDERS: Final = Histogram(
    "lockstep_batch_orders",
    "Orders that shared a transaction.",
    bounds=(1, 2, 5, 10, 20, 50, 100, 200, 300, 500),
)
ATTEMPTS: Final = Histogram(
    "lockstep_transaction_attempts",
    "Attempts until a transaction was committed or given up.",
    ["task"],
    bounds=(1, 2, 3, 4, 5, 7, 10, 15, 20),
)
TRANSACTION_SECONDS: Final = Histogram(
    "lockstep_transaction_seconds", "From the begin to the end of an attempt.", ["task"]
)
STATEMENT_SECONDS: Final = Histogram(
    "lockstep_statement_seconds", "Of a statement; of a locking read, its wait for locks too.", ["statement"]
)
CONFLICTS: Final = Counter(
    "lockstep_conflicts_total", "Statements that met a deadlock or another conflict.", ["code", "statement"]
)

POOL_IN_USE: Final = Gauge("lockstep_pool_connections_in_use", "Database connections that are lent.")
POOL_SIZE: Final = Gauge("lockstep_pool_connections_max", "Database connections that may be lent.")
POOL_WAIT_SECONDS: Final = Histogram("lockstep_pool_wait_seconds", "Wait for a database connection.")

QUEUE_JOBS: Final = Gauge("lockstep_queue_jobs", "Jobs in the queue, those in hand and put off too.")
QUEUE_OLDEST_SECONDS: Final = Gauge(
    "lockstep_queue_oldest_due_seconds", "For how long the oldest due job is due."
)
OUTBOX_LAG_SECONDS: Final = Gauge("lockstep_outbox_lag_seconds", "Age of the oldest event not published yet.")
INTAKE_LAG_SECONDS: Final = Gauge(
    "lockstep_intake_lag_seconds", "Age of the oldest staged order not enqueued yet."
)
CACHE_REQUESTS: Final = Counter("lockstep_cache_requests_total", "Look-ups in a cache.", ["cache", "result"])
BUSY: Final = Counter(
    "lockstep_busy_requests_total", "Requests that were not waited for: the queue was too old.", ["request"]
)
LOOP_LAG_SECONDS: Final = Histogram(
    "lockstep_event_loop_lag_seconds", "How late the event loop runs what is due."
)


def count_outcomes(task: str, outcomes: Iterable[Outcome]) -> None:
    """Of a request of this name, or of all in a bulk job."""
    for outcome in outcomes:
        reason = outcome.reason if isinstance(outcome, Rejected) else ""
        _outcomes(task, outcome.status, reason).inc()


@cache  # to look it up there costs more than to count
def _outcomes(task: str, outcome: str, reason: str) -> Counter:
    return OUTCOMES.labels(task, outcome, reason)


def totals(counter: Counter, *labels: str) -> dict[str, int]:
    """What a counter has come to by these of its labels, joined with colons; an empty one is left out."""
    sums: Tally[str] = Tally()
    for sample in next(iter(counter.collect())).samples:
        sums[":".join(filter(None, (sample.labels[label] for label in labels)))] += int(sample.value)
    return dict(sums)


def value(gauge: Gauge) -> float:
    """What it stands at."""
    return next(iter(gauge.collect())).samples[0].value


def exposition() -> bytes:
    """All of it, as Prometheus reads it."""
    return generate_latest(REGISTRY)
