from collections.abc import Sequence

import pytest

from jobs.transaction import Parameters, Row, Statement
from worker.upkeep import MOST_REST_SECONDS, RESTS, Pace


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("worker.upkeep.time.monotonic", clock.monotonic)
    monkeypatch.setattr("worker.upkeep.asyncio.sleep", clock.sleep)
    return clock


class Slow:
    """A reader whose every read takes so long."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        self._clock.now += self._seconds
        return [{"name": statement.name, **parameters}]


@pytest.mark.parametrize(
    ("seconds", "hurry", "rest"),
    [(0.1, False, 0.1 * RESTS), (10.0, False, MOST_REST_SECONDS), (0.1, True, 0.0)],
)
async def test_a_read_is_followed_by_a_rest_unless_there_is_a_hurry(
    seconds: float,
    hurry: bool,  # noqa: FBT001  # a case of the test
    rest: float,
    clock: Clock,
) -> None:
    reader = Pace(hurry=hurry).reader(Slow(clock, seconds))
    assert await reader.fetch(Statement("read", ""), {"a": 1}) == [{"name": "read", "a": 1}]
    assert clock.rests == [pytest.approx(rest)]
