"""The products that most orders of the last minute took."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from worker.queue.event_tail import Tail

WINDOW_SECONDS: Final = 60


@dataclass(slots=True)
class _Second:
    orders: int = 0
    takers: Counter[int] = field(default_factory=Counter)
    cut: bool = False


class Hottest:
    """Counts orders by product, from the events that tell of them."""

    def __init__(self) -> None:
        self._seconds: dict[int, _Second] = {}
        self._takers: Counter[int] = Counter()

    def add(self, tail: Tail) -> None:
        """The next reading; what is older than a minute is forgotten."""
        for event in tail.events:
            if event.kind == "order.placed":
                second = self._seconds.setdefault(event.published_at, _Second())
                second.orders += 1
                second.takers.update(line["product_id"] for line in event.body["lines"])
                self._takers.update(line["product_id"] for line in event.body["lines"])
        if tail.cut:
            self._seconds.setdefault(tail.at, _Second()).cut = True
        for at in [at for at in self._seconds if at <= tail.at - WINDOW_SECONDS]:
            self._takers -= self._seconds.pop(at).takers

    def top(self, size: int) -> list[tuple[int, int]]:
        """Product and its orders, most first."""
        return self._takers.most_common(size)

    @property
    def orders(self) -> int:
        """How many were counted."""
        return sum(second.orders for second in self._seconds.values())

    @property
    def sampled(self) -> bool:
        """Whether there were more, of which the newest of each second were counted."""
        return any(second.cut for second in self._seconds.values())
