"""A run that has to end by a time starts no test after it, and says what it has not reached.

It begins at another file with each seed.
"""

import math
import os
import time
from collections import Counter
from typing import Any, Final

import pytest

from tests.suite.sample import SEED

UNTIL: Final = float(os.environ.get("LOCKSTEP_TEST_UNTIL", math.inf))  # seconds since the epoch
_KEY: Final = "not_reached"
_STRIDE: Final = (
    0.618  # of all files, from one seed to the next, so that neighbours begin far from each other
)
_not_reached: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rotate the files."""
    if math.isfinite(UNTIL) and items:
        files = list(dict.fromkeys(item.path for item in items))
        first = int(SEED * _STRIDE * len(files)) % len(files)
        place = {path: number for number, path in enumerate(files[first:] + files[:first])}
        items.sort(key=lambda item: place[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave the item out if the time is over."""
    if is_over():
        leave_out(item.nodeid)
        return True
    return None


def is_over() -> bool:
    """For a test that can end early."""
    return time.time() >= UNTIL


def leave_out(what: str) -> None:
    """Say at the end that this was not reached."""
    _not_reached.append(what)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Of a process of several, to the one that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_KEY] = _not_reached


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What one of several processes has not reached."""
    _not_reached.extend(getattr(node, "workeroutput", {}).get(_KEY, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """By file, so that the next run can be chosen."""
    if math.isfinite(UNTIL):
        terminalreporter.section(f"not reached in time: {len(_not_reached):,} tests")
        for path, count in Counter(nodeid.partition("::")[0] for nodeid in sorted(_not_reached)).items():
            terminalreporter.line(f"{count:5,}  {path}")
