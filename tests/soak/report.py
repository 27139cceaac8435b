"""What a soak came to: a table for people, JSON for programs."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any, Final
from uuid import UUID

from rich.table import Table

from jobs.orders.outcomes import AnyOutcome, Rejected
from jobs.orders.requests import PlaceOrder
from tests.soak.schedule import Kind
from tests.soak.soak import Result

MOST_NAMED: Final = 100  # violations in the JSON


def recoveries(result: Result) -> list[float | None]:
    """From the end of each fault to the next outcome that is news to all clients: an old one may come from Redis alone."""
    seen = _news_at(result)
    places = [bisect_left(seen, done.ended) for done in result.faults]
    return [
        seen[place] - done.ended if place < len(seen) else None
        for place, done in zip(places, result.faults, strict=True)
    ]


def by_kind(result: Result) -> dict[Kind, list[float]]:
    """The recovery times of each kind; a fault after which nothing came has none."""
    found: dict[Kind, list[float]] = defaultdict(list)
    for done, seconds in zip(result.faults, recoveries(result), strict=True):
        found[done.fault.kind] += [] if seconds is None else [seconds]
    return found


def throughput(result: Result) -> list[int]:
    """Outcomes that clients saw in each second, until the last."""
    seconds = Counter(map(int, _seen_at(result)))
    return [seconds[second] for second in range(max(seconds, default=0) + 1)]


def draw_table(result: Result) -> Table:
    """Every kind of fault, then everything else."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("fault", no_wrap=True)
    for name in ("count", "median recovery", "longest"):
        table.add_column(name, justify="right")
    counts = Counter(done.fault.kind for done in result.faults)
    for kind, seconds in by_kind(result).items():
        table.add_row(kind.value, str(counts[kind]), *_median_and_most(seconds))
    every = [seconds for seconds in recoveries(result) if seconds is not None]
    table.add_row(f"[bold]{len(counts)} kinds", f"[bold]{counts.total()}", *_median_and_most(every))
    table.add_row()
    for name, value in _figures(result).items():
        table.add_row(name, value)
    return table


def _figures(result: Result) -> dict[str, str]:
    waits = _waits(result)
    cuts = quantiles(waits, n=100, method="inclusive")
    outcomes = Counter(_outcome(asked.outcome) for asked in result.history if asked.outcome)
    return {
        "requests": f"{len(result.history):,}",
        "outcomes a second": f"{sum(throughput(result)) / result.seconds:.1f}",
        "wait, median": _time(cuts[49]),
        "wait, 99 %": _time(cuts[98]),
        "wait, longest": _time(max(waits)),
        "worked off after": _time(result.drain_seconds),
        "calls that failed": f"{sum(asked.failures for asked in result.history):,}",
        "workers that ended by themselves": str(len(result.ended_by_themselves)),
        **{f"outcome: {status}": f"{count:,}" for status, count in outcomes.most_common()},
    }


def to_json(result: Result) -> dict[str, Any]:
    """All but the history."""
    return {
        "seed": result.seed,
        "seconds": result.seconds,
        "figures": _figures(result),
        "faults": [
            {
                "kind": done.fault.kind.value,
                **({"worker": done.fault.worker + 1} if "WORKER" in done.fault.kind.name else {}),
                "began": round(done.began, 3),
                "ended": round(done.ended, 3),
                "recovery_seconds": seconds and round(seconds, 3),
            }
            for done, seconds in zip(result.faults, recoveries(result), strict=True)
        ],
        "ended_by_themselves": list(result.ended_by_themselves),
        "throughput": throughput(result),
        "broken": {
            finding.invariant: finding.violations for finding in result.findings if finding.violations
        },
        "violations": [violation._asdict() for violation in result.violations[:MOST_NAMED]],
    }


def _news_at(result: Result) -> list[float]:
    placed: dict[tuple[UUID, str], float] = {}
    others = []
    for asked in result.history:
        if asked.seen_at is None:
            continue
        if isinstance(asked.request, PlaceOrder):
            key = asked.id, asked.request.fingerprint
            placed[key] = min(asked.seen_at, placed.get(key, asked.seen_at))
        else:
            others.append(asked.seen_at)
    return sorted([*placed.values(), *others])


def _seen_at(result: Result) -> list[float]:
    return sorted(asked.seen_at for asked in result.history if asked.seen_at is not None)


def _waits(result: Result) -> list[float]:
    return [asked.seen_at - asked.asked_at for asked in result.history if asked.seen_at is not None]


def _outcome(outcome: AnyOutcome) -> str:
    return f"{outcome.status}, {outcome.reason}" if isinstance(outcome, Rejected) else outcome.status


def _median_and_most(seconds: Sequence[float]) -> tuple[str, str]:
    return (_time(median(seconds)), _time(max(seconds))) if seconds else ("none", "none")


def _time(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
