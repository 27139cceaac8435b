"""What the gate samples: nothing is left out for good, and the rest is what the gate has not run."""

from typing import Any, cast

import pytest

from tests.suite import deadline, selection
from tests.suite.sample import replay


class Item:
    """What the selection asks of a test."""

    def __init__(self, nodeid: str, **markers: pytest.Mark) -> None:
        self.nodeid, self.path, self._markers = nodeid, nodeid.partition("::")[0], markers

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self._markers.get(name)


def sampled(every: int, *, inside: bool = False) -> pytest.Mark:
    return pytest.mark.sampled(every, inside=inside).mark


def chosen(monkeypatch: pytest.MonkeyPatch, part: str, seed: int, *items: Item) -> list[str]:
    monkeypatch.setattr(selection, "PART", part)
    monkeypatch.setattr(selection, "SEED", seed)
    left: Any = [*items]
    selection.pytest_collection_modifyitems(cast("pytest.Config", Config()), left)
    return [item.nodeid for item in left]


class Config:
    """It takes the deselected tests."""

    class hook:  # noqa: N801  # pytest's name
        @staticmethod
        def pytest_deselected(items: list[Item]) -> None: ...


@pytest.fixture
def items() -> list[Item]:
    return [
        Item("a.py::test_all"),
        *(Item(f"a.py::test_some[{number}]", sampled=sampled(4)) for number in range(10)),
        Item("a.py::test_inside", sampled=sampled(1, inside=True)),
        Item("a.py::test_property", hypothesis=pytest.mark.hypothesis.mark),
        Item("a.py::test_heavy", alone=pytest.mark.alone.mark),
    ]


def test_so_many_seeds_in_a_row_take_every_case_once(
    monkeypatch: pytest.MonkeyPatch, items: list[Item]
) -> None:
    some = [item.nodeid for item in items if "some" in item.nodeid]
    for first in range(8):
        taken = [
            each for seed in range(first, first + 4) for each in chosen(monkeypatch, "gate", seed, *items)
        ]
        assert sorted(each for each in taken if each in some) == sorted(some)


@pytest.mark.parametrize("seed", range(4))
def test_the_rest_is_what_the_gate_leaves_out_and_what_it_runs_in_part(
    monkeypatch: pytest.MonkeyPatch, items: list[Item], seed: int
) -> None:
    gate = chosen(monkeypatch, "gate", seed, *items)
    rest = chosen(monkeypatch, "rest", seed, *items)
    assert {*gate, *rest} == {item.nodeid for item in items}
    assert {*gate} & {*rest} == {"a.py::test_inside", "a.py::test_property"}
    assert "a.py::test_heavy" in rest
    assert chosen(monkeypatch, "all", seed, *items) == [item.nodeid for item in items]
    assert chosen(monkeypatch, "named", seed, *items) == [item.nodeid for item in items]


def test_a_failure_is_repeated_by_its_seed_and_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.suite.sample.SEED", 7)
    monkeypatch.setattr("tests.suite.sample.COMPLETE", False)
    assert replay("a.py::test_a[x y]") == "LOCKSTEP_TEST_SEED=7 .venv/bin/pytest 'a.py::test_a[x y]'"


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    left_out: list[str] = []
    monkeypatch.setattr(deadline, "UNTIL", 1.0)
    monkeypatch.setattr(deadline, "_not_reached", left_out)
    return left_out


def test_when_the_time_is_over_no_test_starts_and_each_is_named(late: list[str], items: list[Item]) -> None:
    assert all(deadline.pytest_runtest_protocol(cast("pytest.Item", item)) for item in items)
    assert late == [item.nodeid for item in items]


def test_a_run_with_an_end_begins_at_another_file_with_each_seed(
    late: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [f"{number}.py" for number in range(10)]
    first = set()
    for seed in range(40):
        monkeypatch.setattr(deadline, "SEED", seed)
        items: Any = [Item(f"{file}::test_{number}") for file in files for number in range(2)]
        deadline.pytest_collection_modifyitems(items)
        order = list(dict.fromkeys(item.path for item in items))
        assert sorted(order) == files
        first.add(order[0])
    assert first == set(files)
