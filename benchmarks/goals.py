"""What the figures are to come to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.figures import Figures, Run

LIMIT: Final = "limit"  # the best of them all


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, or the ratio of two, and the least or the most that it may be."""

    text: str
    figure: str
    least: float | None = None
    most: float | None = None
    over: str | None = None
    unit: str = ""
    worst: bool = False  # of all rounds, in the place of their median


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a goal's figure is; None if it was not measured, or is to be compared with nothing."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool | None:
        """None where nobody can tell."""
        if self.value is None:
            return None
        if self.goal.least is not None:
            return self.value >= self.goal.least
        assert self.goal.most is not None, "every goal has a bound"
        return self.value <= self.goal.most


GOALS: Final = (
    Goal("bulk / reference", "bulk-2", least=10, over="reference"),
    Goal("bulk / limit", "bulk-2", least=0.7, over=LIMIT),
    Goal("single / empty jobs", "single-2", least=0.8, over="no-op-2"),
    Goal("the same, one worker", "single-1", least=0.8, over="no-op-1"),
    Goal("one product / a thousand products", "one-product", least=1.0, over="thousand-products"),
    Goal("single orders, now / before", "single-2", least=0.85, over="before-single-2"),
    Goal("bulk, now / before", "bulk-2", least=1.0, over="before-bulk-2"),
    *(
        Goal(f"bulk, {size} workers / 2 workers", f"workers-bulk-{size}", least=0.9, over="workers-bulk-2")
        for size in (16, 32)
    ),
    *(
        Goal(f"{size} workers, jobs claimed again", f"workers-bulk-{size}-again", most=0, worst=True)
        for size in (16, 32)
    ),
    *(
        Goal(f"beside {burners} burners, runs in batches / outcome", f"starved-{burners}-runs", most=1.1)
        for burners in (8, 16)
    ),
    Goal(
        "beside 16 burners, delivered, now / before with 20 a batch",
        "starved-16-delivered",
        least=0.85,
        over="before-starved-16-delivered",
    ),
    Goal(
        "outcomes per CPU second, beside 16 burners / none",
        "starved-16-per-cpu-second",
        least=0.7,
        over="starved-0-per-cpu-second",
    ),
    Goal("an idle worker", "idle-cpu", most=1.0, unit="% of a core"),
    Goal("enqueue to start when idle, p50", "start-p50", most=6, unit="ms"),
    Goal("latency when idle, p50", "idle-p50", most=15, unit="ms"),
    Goal("latency when idle, p99", "idle-p99", most=50, unit="ms"),
    Goal("latency at half load, p99", "half-p99", most=150, unit="ms"),
)
CONFLICTS: Final = Goal("conflicts of Lockstep's workers", "conflicts", most=0)


def judge(run: Run) -> list[Verdict]:
    """Every goal beside what was measured, by the medians of the rounds."""
    medians = {name: figure.median for name, figure in run.figures.items()}
    highest = {name: figure.high for name, figure in run.figures.items()}
    if best := best_limit(run.figures):
        medians[LIMIT] = medians[best]
    return [
        *(Verdict(goal, _value(goal, highest if goal.worst else medians)) for goal in GOALS),
        Verdict(CONFLICTS, run.conflicts.get(run.worker)),
    ]


def best_limit(figures: Figures) -> str | None:
    """The name of the batch size at which the SQL alone is fastest."""
    limits = [name for name in figures if name.startswith(f"{LIMIT}-")]
    return max(limits, key=lambda name: figures[name].median, default=None)


def _value(goal: Goal, medians: Mapping[str, float]) -> float | None:
    value = medians.get(goal.figure)
    if value is None or goal.over is None:
        return value
    return value / other if (other := medians.get(goal.over)) else None
