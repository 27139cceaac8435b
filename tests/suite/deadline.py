"""A run that has to end by a time starts nothing after it, and says what it has not reached.

Its files come in an order that rotates with the seed, so that each comes first once.
"""

import os
import time
from collections import Counter
from typing import Any, Final

import pytest

from tests.suite.sample import SEED

UNTIL: Final = float(os.environ.get("LOCKSTEP_TEST_UNTIL", "inf"))  # seconds since the epoch
_KEY: Final = "not_reached"
_STRIDE: Final = (
    0.618  # of the files, from one seed to the next: neighbours in time begin far from each other
)
_not_reached: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rotate the files."""
    if float("inf") > UNTIL and items:
        files = list(dict.fromkeys(item.path for item in items))
        first = int(SEED * _STRIDE * len(files)) % len(files)
        place = {path: number for number, path in enumerate(files[first:] + files[:first])}
        items.sort(key=lambda item: place[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave the item out if the time is over."""
    if time.time() < UNTIL:
        return None
    _not_reached.append(item.nodeid)
    return True


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
    if float("inf") > UNTIL:
        terminalreporter.section(f"not reached in time: {len(_not_reached):,} tests")
        for path, count in Counter(nodeid.partition("::")[0] for nodeid in sorted(_not_reached)).items():
            terminalreporter.line(f"{count:5,}  {path}")
