"""Who hears what passes on the way of orders, and springs the trap."""

import asyncio
import time
from collections import Counter
from typing import Final, NamedTuple

from tests.wire_proxy import Fault

IDLE_SECONDS: Final = 1.5  # longer than a worker with nothing to do ever pauses


class Point(NamedTuple):
    """The nth time that a command of this name comes by while orders are on their way."""

    way: str
    command: str
    nth: int


class Watch:
    """Hears every command of a lane, and springs one trap."""

    def __init__(self) -> None:
        self.idle: set[str] = set()
        self.heard: list[Point] = []
        self.sprung_at: float | None = None
        self._trap: tuple[Point, Fault] | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._last_at = time.monotonic()

    def start(self, trap: tuple[Point, Fault] | None = None) -> None:
        """Count from one again."""
        self.heard, self.sprung_at, self._trap = [], None, trap
        self._counts.clear()

    def note(self, way: str, command: str) -> Fault | None:
        """What is to happen at this command."""
        if command in self.idle:
            return None
        self._last_at = time.monotonic()
        self._counts[way, command] += 1
        point = Point(way, command, self._counts[way, command])
        self.heard.append(point)
        if self._trap is None or self._trap[0] != point:
            return None
        self.sprung_at, fault, self._trap = self._last_at, self._trap[1], None
        return fault

    async def until_quiet(self) -> None:
        """Wait until nobody has said anything but idle talk for a while."""
        while (wait := self._last_at + IDLE_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(wait)
