"""What a run costs, in a unit that does not depend on the machine: rounds of a fixed calibration loop."""

import ctypes
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

ROUNDS: Final = 400_000  # about a second
_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(slots=True)
class Cost:
    """CPU seconds of a run and of all that it started, and those of the loop, taken before and after it."""

    seconds: float = 0.0
    loops: tuple[float, float] = (0.0, 0.0)

    @property
    def in_loops(self) -> float:
        """How many runs of the loop the same time would have been."""
        return self.seconds / (sum(self.loops) / 2)


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what `run` runs inside of the block."""
    _adopt_orphans()
    cost = Cost()
    before, loop_before = _children_seconds(), _loop_seconds()
    yield cost
    cost.seconds = _children_seconds() - before
    cost.loops = (loop_before, _loop_seconds())


def _loop_seconds() -> float:
    """CPU time of hashing and of building objects, as a suite of Python programs does both."""
    began = time.process_time()
    digest = b""
    for number in range(ROUNDS):
        digest = sha256(digest + str({"number": number}).encode()).digest()
    return time.process_time() - began


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _adopt_orphans() -> None:
    """On Linux, the time of a process whose parent has ended before it counts as well."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(command: Sequence[str]) -> int:
    """Run a program, and take leave of every orphan that comes here meanwhile; the program's exit code."""
    program = os.posix_spawn(command[0], command, os.environ)
    while (ended := os.wait())[0] != program:
        pass
    return os.waitstatus_to_exitcode(ended[1])
