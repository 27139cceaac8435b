"""A run of arq's own tests is believed only if they ran, and ran on our pool."""

import sys
from collections.abc import Callable

import pytest

from tests.arq_suite.repeating import BY_THE_CLOCK, TIMES, repeat
from tests.arq_suite.running import Results
from tests.arq_suite.sources import pip
from tests.arq_suite.verdict import LEAST_BUILT_REACHED, LEAST_REACHED, complaints, facts
from worker.errors import LockstepError

REACHED = [f"tests/test_worker.py::test_{number}" for number in range(LEAST_REACHED)]
BUILT = REACHED[:LEAST_BUILT_REACHED]
GOOD = Results(passed=REACHED, reached=REACHED, built=BUILT, built_reached=BUILT)
THREE = {f"tests/test_main.py::test_{number}": "the pool answers it" for number in range(3)}
TWO = dict(list(THREE.items())[:2])
CLOCK = f"{next(iter(BY_THE_CLOCK))}[1000-1000]"


def runs(*passes: bool) -> Callable[[str], Results]:
    """A run of one test, which passes or fails each time."""
    outcomes = iter(passes)
    return lambda test: Results(passed=[test]) if next(outcomes) else Results(failed={test: "call: late"})


def test_two_tests_may_be_left_out_and_each_is_printed_with_its_reason() -> None:
    results = GOOD._replace(left_out=list(TWO))
    assert list(complaints(results, TWO)) == []
    said = list(facts(results, TWO))
    assert said[-2:] == [f"left out by us: {test}: the pool answers it" for test in TWO]


def test_three_may_not() -> None:
    (complaint,) = complaints(GOOD._replace(left_out=list(THREE)), THREE)
    assert complaint == "3 tests are left out, and 2 may be."


def test_a_test_that_is_left_out_has_to_exist() -> None:
    gone, there = TWO
    (complaint,) = complaints(GOOD._replace(left_out=[there]), TWO)
    assert complaint == f"arq has no test {gone}, which is to be left out."


def test_what_arq_itself_skips_is_printed_with_its_reason() -> None:
    results = GOOD._replace(skipped={"tests/test_utils.py::test_sentinel": "this breaks others"})
    assert list(complaints(results)) == []
    assert "skipped by arq itself: tests/test_utils.py::test_sentinel: this breaks others" in facts(results)


@pytest.mark.parametrize(
    "results",
    [
        GOOD._replace(failed={"tests/test_worker.py::test_0": "call: assert 1 == 2"}),
        GOOD._replace(reached=REACHED[1:]),
        GOOD._replace(built_reached=BUILT[1:]),
    ],
    ids=["a failure", "a pool that few tests reach", "a pool that few tests reach through their own"],
)
def test_is_wrong(results: Results) -> None:
    assert len(list(complaints(results))) == 1


def test_a_run_that_ends_by_the_clock_need_not_reach_the_pool_but_must_not_fail() -> None:
    ended = Results(out_of_time=REACHED)
    assert list(complaints(ended)) == []
    assert f"not reached in time: {LEAST_REACHED} tests" in facts(ended)
    assert list(complaints(ended._replace(failed={CLOCK: "call: late"}))) == [f"failed: {CLOCK}: call: late"]


def test_a_test_that_decides_by_the_clock_is_repeated_until_it_passes_and_that_is_printed() -> None:
    results, lines = repeat(Results(failed={CLOCK: "call: late"}), runs(False, True))
    assert (results.passed, results.failed) == ([CLOCK], {})
    (line,) = lines
    assert line.startswith(f"decides by the clock, and passed at run 3: {CLOCK}: call: late (")


def test_if_it_never_passes_it_has_failed() -> None:
    results, (line,) = repeat(Results(failed={CLOCK: "call: late"}), runs(*[False] * (TIMES - 1)))
    assert (results.passed, results.failed) == ([], {CLOCK: "call: late"})
    assert f"failed in all of {TIMES} runs" in line


def test_no_other_test_is_repeated() -> None:
    failed = Results(failed={"tests/test_worker.py::test_multi_exec": "call: assert 1 == 2"})
    results, lines = repeat(failed, runs())
    assert (results.failed, lines) == (failed.failed, [])


def test_if_pip_fails_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")  # a program that fails
    with pytest.raises(LockstepError, match=r"pip could not download .* is the network there\?"):
        pip("download", "arq")
