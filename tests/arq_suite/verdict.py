"""What is expected of arq's tests on our pool, and what a run says to that."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.arq_suite.running import Results

# The id of a test, and what it asserts that the pool changes on purpose.
LEFT_OUT: Final[Mapping[str, str]] = {}
MOST_LEFT_OUT: Final = 2
# With fewer, tests run on a pool that is not ours. Of arq 0.28.0's, 84 and 7 have a Worker that asks it for jobs.
LEAST_REACHED: Final = 80
LEAST_BUILT_REACHED: Final = 7


def complaints(results: Results, left_out: Mapping[str, str] = LEFT_OUT) -> Iterator[str]:
    """A sentence for each thing that is not as it has to be."""
    yield from (f"failed: {test}: {why}" for test, why in results.failed.items())
    if len(left_out) > MOST_LEFT_OUT:
        yield f"{len(left_out)} tests are left out, and {MOST_LEFT_OUT} may be."
    for test in left_out:
        if test not in results.left_out:
            yield f"arq has no test {test}, which is to be left out."
    if results.out_of_time:
        return  # they might have reached it
    if (reached := len(results.reached)) < LEAST_REACHED:
        yield f"{reached} tests reached the pool, and {LEAST_REACHED} have to: it was not given to all of them."
    if (reached := len(results.built_reached)) < LEAST_BUILT_REACHED:
        yield f"{reached} tests reached one that was not built by a fixture, and {LEAST_BUILT_REACHED} have to."


def facts(results: Results, left_out: Mapping[str, str] = LEFT_OUT) -> Iterator[str]:
    """What ran, what reached the pool, and each test that did not run, with its reason."""
    yield (
        f"{len(results.passed)} passed, {len(results.failed)} failed, {len(results.skipped)} skipped by arq itself,"
        f" {len(results.left_out)} left out by us (at most {MOST_LEFT_OUT})"
    )
    yield f"in {len(results.reached)} a Worker asked the pool for jobs (at least {LEAST_REACHED})"
    yield (
        f"in {len(results.built)} the test or its Worker built a pool itself, and in {len(results.built_reached)} of"
        f" these a Worker asked that one for jobs (at least {LEAST_BUILT_REACHED})"
    )
    yield from (f"skipped by arq itself: {test}: {why}" for test, why in results.skipped.items())
    yield from (f"left out by us: {test}: {left_out[test]}" for test in results.left_out)
    if results.out_of_time:
        yield f"not reached in time: {len(results.out_of_time)} tests"
