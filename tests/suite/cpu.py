"""What a run costs, in a unit that does not depend on the machine: rounds of a fixed calibration loop."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

ROUNDS: Final = 400_000  # about a second


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
    """Measure what has run and ended inside of the block."""
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
