"""How many workers a queue has: what any of them can do, they do by turns, as often together as one would alone."""


class Crew:
    """The workers of a queue, as this one has counted them last."""

    size = 1

    def rest(self, seconds: float, longest: float) -> float:
        """How long one of them rests, if a worker alone would rest for so many seconds."""
        return min(longest, seconds * max(1, self.size))
