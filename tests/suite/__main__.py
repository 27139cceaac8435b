"""Runs of the suite: `gate`, `all`, `rest` (what the gate leaves out) and `paused` (the gate, on a machine that pauses).

Each is two runs of pytest: side by side what bears company, and after it, one at a time, what is marked `alone`.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from typing import Final

from tests.suite.cpu import Cost, measured
from tests.suite.pauses import paused
from tests.suite.processes import adopt_orphans, run
from tests.suite.sample import SEED

INTERRUPTED: Final = 2  # pytest's exit codes
NO_TESTS: Final = 5
BUDGET_LOOPS: Final = 700  # of the gate's CPU time: see tests/suite/cpu.py
SIDE_BY_SIDE: Final = ("-n", "auto", "--dist", "worksteal", "-m", "not alone")
ALONE: Final = ("-m", "alone")


def main() -> int:
    """The exit code: 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.suite", description=__doc__)
    parser.add_argument("part", choices=["gate", "all", "rest", "paused"])
    parser.add_argument("--minutes", type=float, help="start no test after so long")
    options = parser.parse_args()
    os.environ["LOCKSTEP_TEST_PART"] = "gate" if options.part == "paused" else options.part
    if options.minutes:
        os.environ["LOCKSTEP_TEST_UNTIL"] = str(time.time() + 60 * options.minutes)
    adopt_orphans()
    with measured() as cost, ExitStack() as stack:
        if options.part == "paused":
            stack.enter_context(paused(os.getpid(), SEED))
        codes = []
        for selection in (SIDE_BY_SIDE, ALONE):
            codes.append(run([sys.executable, "-m", "pytest", *selection]))
            if codes[-1] == INTERRUPTED:
                return INTERRUPTED
    within = report(cost, BUDGET_LOOPS if options.part == "gate" else None)
    return int(any(code not in {0, NO_TESTS} for code in codes) or not within)


def report(cost: Cost, budget: float | None) -> bool:
    """Print what the run cost; whether it is within its budget."""
    within = budget is None or cost.in_loops <= budget
    line = f"{cost.seconds:.0f} s of CPU time in pytest, workers and servers: {cost.in_loops:.0f} calibration loops"
    loops = ", ".join(f"{seconds:.2f} s" for seconds in cost.loops)
    limit = f"; the budget is {budget:.0f}" if budget else ""
    print(f"{line} (of {loops}){limit}{'' if within else ': TOO MUCH'}")  # noqa: T201  # the report
    return within


if __name__ == "__main__":
    sys.exit(main())
