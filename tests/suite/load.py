"""What a run took, by folder. The slowest ten are pytest's own `--durations`."""

from collections import defaultdict
from pathlib import PurePosixPath

import pytest

_seconds: dict[str, float] = defaultdict(float)
_tests: dict[str, set[str]] = defaultdict(set)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up set-up, call and tear-down."""
    folder = str(PurePosixPath(report.nodeid.partition("::")[0]).parent)
    _seconds[folder] += report.duration
    _tests[folder].add(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line per folder: waiting counts, and several run at once, so the sum is more than the time of the run."""
    terminalreporter.section("time per folder")
    for folder, seconds in sorted(_seconds.items(), key=lambda each: -each[1]):
        terminalreporter.line(f"{seconds:8.1f} s  {len(_tests[folder]):5,} tests  {folder}")
