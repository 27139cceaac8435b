"""Something that is measured, and what its measurement comes to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.arena import Arena
from benchmarks.crews import Crew, Workers
from benchmarks.figures import Figures


class Measured(NamedTuple):
    """What a round came to; `label` is for people."""

    name: str
    label: str
    value: float
    unit: str = ""  # where it is another than the contestant's


Measure = Callable[[Arena, Workers, Figures], Awaitable[list[Measured]]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that is measured once a round, by a crew that may measure several things."""

    name: str
    crew: Crew | None
    unit: str
    measure: Measure
