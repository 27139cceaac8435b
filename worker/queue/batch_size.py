"""How many requests share a transaction: as many as take it half a second."""

from typing import Final

MOST: Final = 300  # orders take some 50 ms: more gain little, and keep their rows locked for longer
# A batch of fewer costs more per request than it saves in time: most of its time are its ten round trips.
LEAST: Final = 60
MOST_SECONDS: Final = 0.5


class BatchSize:
    """Half as many after a batch that took too long; after a full one that was quick, as many as half the time is enough for.

    The first holds as few as possible: how fast this machine is shows after it.
    """

    def __init__(self, now: int = LEAST) -> None:
        self.now = now

    def took(self, requests: int, seconds: float) -> None:
        """A batch of so many was run in so many seconds."""
        if seconds > MOST_SECONDS:
            self.now = max(LEAST, self.now // 2)
        elif requests >= self.now and seconds < MOST_SECONDS / 2:
            enough = requests * MOST_SECONDS / 2 / max(seconds, MOST_SECONDS / 1000)
            self.now = min(MOST, int(enough))

    def shrink(self) -> None:
        """A batch waited in vain for a row: the next ones hold as few as possible."""
        self.now = LEAST
