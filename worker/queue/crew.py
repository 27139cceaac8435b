"""How many workers a queue has: what any of them can do, they do by turns, as often together as one would alone."""

from typing import Final

GROWTH: Final = 1.25  # of a rest after each look that finds nothing


class Crew:
    """The workers of a queue, as this one has counted them last."""

    size = 1

    def rest(self, seconds: float, longest: float) -> float:
        """How long one of them rests, if a worker alone would rest for so many seconds."""
        return min(longest, seconds * max(1, self.size))


class Looks:
    """When one of them looks for work again: soon after it has found some, and more seldom the longer there is none."""

    def __init__(self, crew: Crew, *, soon: float, seldom: float, longest: float) -> None:
        """Seconds that a worker alone rests at first, and after a while; `longest`: one of many."""
        self._crew = crew
        self._soon = self._seconds = soon
        self._seldom = seldom
        self._longest = longest

    def found(self) -> None:
        """The last look has found work."""
        self._seconds = self._soon

    def rest(self) -> float:
        """How long to rest, since the last look has found none."""
        seconds, self._seconds = self._seconds, min(self._seldom, self._seconds * GROWTH)
        return self._crew.rest(seconds, self._longest)
