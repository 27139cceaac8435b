"""Runs of the suite: side by side in several processes, and after them what is marked `alone`.

gate: all tests but those, and of what is marked `sampled` a sample. rest: what the gate leaves out, and arq's own tests.
all: both, with coverage. coverage: the gate with coverage. paused: the gate on a machine that pauses.
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
BUDGET_LOOPS: Final = 560  # of the gate's CPU time: see tests/suite/cpu.py
FLOORS: Final = {"jobs": 100, "worker": 95}  # percent of lines and branches
PYTHON: Final = (sys.executable, "-m")


def main() -> int:
    """The exit code: 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.suite", description=__doc__)
    parser.add_argument("part", choices=["gate", "rest", "all", "coverage", "paused"])
    parser.add_argument("--minutes", type=float, help="start no test after so long")
    options = parser.parse_args()
    os.environ["LOCKSTEP_TEST_PART"] = options.part if options.part in {"rest", "all"} else "gate"
    if options.minutes:
        os.environ["LOCKSTEP_TEST_UNTIL"] = str(time.time() + 60 * options.minutes)
    adopt_orphans()
    with measured() as cost, ExitStack() as stack:
        if options.part == "paused":
            stack.enter_context(paused(os.getpid(), SEED))
        passed = run_tests(options.part)
    within = report(cost, BUDGET_LOOPS if options.part == "gate" else None)
    return int(not (passed and within))


def run_tests(part: str) -> bool:
    """Whether all passed, and reach enough of the code if that is asked."""
    traced = part in {"all", "coverage"}
    if traced:
        run([*PYTHON, "coverage", "erase"])
    tool = ("coverage", "run", "-m") if traced else ()
    runs = [(*tool, "pytest", "-n", "auto", "--dist", "worksteal", "-m", "not alone")]
    if part in {"rest", "all"}:
        # first by turns, as the time may be over
        runs.insert(SEED // 2 % 2, ("pytest", "-m", "alone"))
        runs.insert(SEED // 4 % 3, ("tests.arq_suite",))
    passed = [passes(*command) for command in runs]
    return all(passed) and (not traced or enough_is_reached())


def passes(*command: str) -> bool:
    """Whether all tests passed; an interrupted run ends all."""
    if (code := run([*PYTHON, *command])) == INTERRUPTED:
        raise SystemExit(INTERRUPTED)
    return code in {0, NO_TESTS}


def enough_is_reached() -> bool:
    """Whether the tests reach as much of the code as they have to."""
    run([*PYTHON, "coverage", "combine", "--quiet"])
    return all(
        run([*PYTHON, "coverage", "report", f"--include={folder}/*", f"--fail-under={floor}"]) == 0
        for folder, floor in FLOORS.items()
    )


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
