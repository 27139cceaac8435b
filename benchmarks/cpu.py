"""CPU time of processes, as Linux counts it in /proc."""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class _Process(NamedTuple):
    parent: int
    seconds: float  # user and system
    seconds_of_ended: float  # of its children that have ended


def cpu_seconds(pid: int) -> float:
    """What one process has used so far, user and system."""
    return _read(Path(f"/proc/{pid}/stat")).seconds


def cpu_seconds_of_trees(pids: Iterable[int]) -> float:
    """The same of these processes and all their descendants, those that have ended too."""
    processes = dict(_all_processes())
    children = defaultdict[int, list[int]](list)
    for pid, process in processes.items():
        children[process.parent].append(pid)
    tree, seconds = [pid for pid in pids if pid in processes], 0.0
    while tree:
        pid = tree.pop()
        seconds += processes[pid].seconds + processes[pid].seconds_of_ended
        tree += children[pid]
    return seconds


def _all_processes() -> Iterable[tuple[int, _Process]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            yield int(path.parent.name), _read(path)


def _read(path: Path) -> _Process:
    fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system, user_of_ended, system_of_ended = map(int, fields[11:15])
    return _Process(int(fields[1]), (user + system) / _TICKS, (user_of_ended + system_of_ended) / _TICKS)
