from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from benchmarks import rounds
from benchmarks.contestant import Contestant, Measured
from benchmarks.crews import Crew, Workers
from benchmarks.figures import Run
from worker.errors import LockstepError


class Started:
    """In the place of `running`: counts crews, of which one named `broken` does not start."""

    def __init__(self, crew: Crew | None, _servers: object, folder: Path) -> None:
        self.crew = crew
        self.workers = Workers(folder)

    crews: list[Crew | None]

    async def __aenter__(self) -> Workers:
        if self.crew and self.crew.command == "broken":
            raise LockstepError("it does not start")
        self.crews.append(self.crew)
        return self.workers

    async def __aexit__(self, *_: object) -> None: ...


def contestant(name: str, crew: Crew | None = None) -> Contestant:
    async def measure(*_: object) -> list[Measured]:
        if name == "bad":
            raise LockstepError("1 orders have no outcome")
        return [Measured(name, name, 1.0), Measured(f"{name}-again", name, 0, "jobs")]

    return Contestant(name, crew, "orders/s", measure)


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(rounds, "running", Started)
    monkeypatch.setattr(Started, "crews", [], raising=False)
    queue = SimpleNamespace(flushdb=AsyncMock())
    return SimpleNamespace(size=SimpleNamespace(rounds=2), servers=None, folder=tmp_path, queue=queue)


async def test_each_is_measured_once_a_round_and_a_figure_may_have_a_unit_of_its_own(arena: Any) -> None:
    run, said = Run("", {}), list[str]()
    await rounds.run_rounds(arena, [contestant("one"), contestant("two")], run, said.append)
    assert {name: (figure.unit, len(figure.rounds)) for name, figure in run.figures.items()} == {
        "one": ("orders/s", 2), "one-again": ("jobs", 2), "two": ("orders/s", 2), "two-again": ("jobs", 2),
    }  # fmt: skip
    assert said == [f"round {n} of 2: {name}" for n in (1, 2) for name in ("no worker", "one", "two")]


async def test_what_follows_a_round_that_does_not_count_gets_new_workers(arena: Any) -> None:
    run, crew = Run("", {}), Crew("a worker", 2)
    taking_part = [contestant("bad", crew), contestant("good", crew), contestant("better", crew)]
    await rounds.run_rounds(arena, taking_part, run, lambda _: None)
    assert run.failures == ["bad: 1 orders have no outcome"] * 2
    assert {"good", "better"} <= run.figures.keys()
    assert Started.crews == [crew] * 4
    assert arena.queue.flushdb.await_count == 4, "none of them gets a job of the bad round"


async def test_a_crew_that_does_not_start_costs_its_own_figures_alone(arena: Any) -> None:
    run = Run("", {})
    taking_part = [contestant("lost", Crew("broken", 32)), contestant("good", Crew("a worker", 2))]
    await rounds.run_rounds(arena, taking_part, run, lambda _: None)
    assert run.failures == ["broken, 32 workers: it does not start"] * 2
    assert "lost" not in run.figures
    assert len(run.figures["good"].rounds) == 2
