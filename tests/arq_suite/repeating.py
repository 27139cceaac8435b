"""Tests of arq's that decide by the clock are repeated, and no others."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.arq_suite.running import Results

# Each has failed on arq's own pool as well, on a machine with more work than cores; the reason is the time it allows.
BY_THE_CLOCK: Final[Mapping[str, str]] = {
    "tests/test_cron.py::test_job_successful": "the job starts within 1 s of its time",
    "tests/test_cron.py::test_job_successful_on_specific_queue": "the same",
    "tests/test_worker.py::test_default_job_expiry": "a millionth of the expiry, 1 ms, passes between two commands",
    "tests/test_worker.py::test_job_retry": "each try starts within 1 s of its time",
    "tests/test_worker.py::test_non_burst": "the worker has run the job after 0.1 s",
    "tests/test_worker.py::test_worker_signal_completes_job_before_shutting_down": "jobs have started after 0.1 s",
}
TIMES: Final = 5  # in all


def repeat(results: Results, run: Callable[[str], Results]) -> tuple[Results, list[str]]:
    """The results with those of tests that have passed then, and a line for each that was repeated."""
    failed, passed, lines = dict(results.failed), list(results.passed), []
    for test, why in results.failed.items():
        if reason := BY_THE_CLOCK.get(test.partition("[")[0]):
            times = next((time for time in range(2, TIMES + 1) if test in run(test).passed), None)
            if times:
                passed.append(test)
                del failed[test]
            ending = f"passed at run {times}" if times else f"failed in all of {TIMES} runs"
            lines.append(f"decides by the clock, and {ending}: {test}: {why} ({reason})")
    return results._replace(failed=failed, passed=passed), lines
