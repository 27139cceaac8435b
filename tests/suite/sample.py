"""Which part of the suite a run takes: a sample that rotates with a printed seed, everything, or what the sample left out."""

import os
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeVar, get_args
from zlib import crc32

import pytest

Size = TypeVar("Size")
Part = Literal["gate", "all", "rest"]
SEED: Final = int(
    os.environ.setdefault("LOCKSTEP_TEST_SEED", str(secrets.randbelow(10_000)))
)  # for all processes
PART: Final = os.environ.setdefault("LOCKSTEP_TEST_PART", "gate")
COMPLETE: Final = PART != "gate"  # what is sampled inside of a test is complete there
MARKERS: Final = (
    "sampled(every=1, inside=False): the gate takes every n-th of its items, by the seed; inside, items take samples, too",
    "beyond_gate: too long for the gate, and nothing of it can be sampled",
)


def size(gate: Size, complete: Size) -> Size:
    """How many a test takes of what it samples itself."""
    return complete if COMPLETE else gate


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and let Hypothesis draw from the seed."""
    assert PART in get_args(Part), f"LOCKSTEP_TEST_PART is one of {', '.join(get_args(Part))}"
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(SEED)


def pytest_report_header() -> str:
    """The seed, before anything can go wrong."""
    return f"part: {PART}, seed: {SEED}; the same again: {replay('pytest ...')}"


def replay(command: str) -> str:
    """The command that takes exactly this sample."""
    return f"LOCKSTEP_TEST_PART={PART} LOCKSTEP_TEST_SEED={SEED} {command}"


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
        if place % _sampled(item).every == 0 and not item.get_closest_marker("beyond_gate"):
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
            terminalreporter.line(replay(f".venv/bin/pytest '{report.nodeid}'"))
