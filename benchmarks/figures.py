"""What was measured: a figure a round, and what the rounds come to."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

PERCENTS: Final = (50.0, 95.0, 99.0, 99.9)


@dataclass(slots=True)
class Figure:
    """One thing that was measured, round by round."""

    label: str
    unit: str
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.rounds)

    @property
    def low(self) -> float:
        """The smallest of any round."""
        return min(self.rounds)

    @property
    def high(self) -> float:
        """The largest of any round."""
        return max(self.rounds)


Figures = dict[str, Figure]  # by name; each has been measured at least once


@dataclass(slots=True)
class Run:
    """What all rounds came to."""

    worker: str  # the command that starts Lockstep's
    about: dict[str, Any]  # the machine, and how much was measured
    figures: Figures = field(default_factory=dict)
    conflicts: dict[str, int] = field(default_factory=dict)  # retried by workers, by their command
    failures: list[str] = field(default_factory=list)  # rounds that do not count, and why


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed (the nearest rank)."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]
