from itertools import pairwise

import pytest

from benchmarks.latency import schedule


@pytest.mark.parametrize("rate", [20.0, 400.0])
def test_arrivals_have_the_rate_that_was_asked_for(rate: float) -> None:
    assert len(schedule(rate, 100)) == pytest.approx(100 * rate, rel=0.05)


def test_arrivals_ascend_and_end_in_time() -> None:
    moments = schedule(50, 10)
    assert moments == sorted(moments)
    assert 0 < moments[0] < moments[-1] < 10


def test_arrivals_come_at_random_and_not_in_step() -> None:
    gaps = [later - earlier for earlier, later in pairwise(schedule(100, 100))]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance == pytest.approx(mean**2, rel=0.1), "the gaps of a Poisson process are exponential"


def test_every_run_has_the_same_arrivals() -> None:
    assert schedule(20, 5) == schedule(20, 5)
