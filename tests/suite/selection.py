"""Selects the tests of this part, and prints how the same sample is taken again."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import pytest

from tests.suite.sample import PART, SEED, replay

AGAIN: Final = {"gate": "make test", "all": "make test-all", "rest": "make test-rest", "named": "pytest ..."}
MARKER: Final = "sampled(every=1, inside=False): the gate takes every n-th of its items, by the seed; inside, items take samples, too"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and let Hypothesis draw from the seed."""
    config.addinivalue_line("markers", MARKER)
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(SEED)


def pytest_report_header() -> str:
    """The seed, before anything can go wrong."""
    return f"part: {PART}, seed: {SEED}; the same again: LOCKSTEP_TEST_SEED={SEED} {AGAIN[PART]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is not of this part."""
    taken = _gate(items)
    if PART == "gate":
        chosen = [item for item in items if item in taken]
    elif PART == "rest":
        chosen = [item for item in items if item not in taken or _sampled(item).inside]
    else:
        return
    kept = set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = chosen


def _gate(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """Every n-th item of a function: n seeds in a row take each of them once."""
    numbers: Counter[str] = Counter()
    taken = set()
    for item in items:
        function = item.nodeid.partition("[")[0]
        place = numbers[function] + crc32(function.encode()) + SEED
        numbers[function] += 1
        if place % _sampled(item).every == 0 and not item.get_closest_marker("alone"):
            taken.add(item)
    return taken


class Sampled(NamedTuple):
    """The arguments of the marker."""

    every: int = 1
    inside: bool = False


def _sampled(item: pytest.Item) -> Sampled:
    marker = item.get_closest_marker("sampled")
    drawn = item.get_closest_marker("hypothesis") is not None
    return Sampled(*marker.args, **marker.kwargs) if marker else Sampled(inside=drawn)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The commands that repeat what failed, exactly."""
    failed = [*terminalreporter.stats.get("failed", []), *terminalreporter.stats.get("error", [])]
    if failed:
        terminalreporter.section("again, exactly")
        for report in failed:
            terminalreporter.line(replay(report.nodeid))
