import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from worker.queue.vitals import Histogram, Vitals
from worker.web.rates import FORGET_SECONDS, STALE_SECONDS, WINDOW_SECONDS, Rates, percentile

BOUNDS = (0.01, 0.1, 1.0)


def histogram(counts: Sequence[int]) -> Histogram:
    """Of counts by bucket, the last one open."""
    return Histogram(bounds=BOUNDS, counts=tuple(accumulate(counts)), sum=0.0)


def told(
    at: float,
    placed: int = 0,
    *,
    worker: str = "shop:1:0",
    started_at: float = 0.0,
    outcomes: Mapping[str, int] | None = None,
    conflicts: Mapping[str, int] | None = None,
    latency: Sequence[int] = (0, 0, 0, 0),
) -> Vitals:
    """What a worker told at its second `at`."""
    rest: dict[str, Any] = {"deferred": {}, "buried": {}}
    rest |= dict.fromkeys(("batch", "attempts", "loop_lag"), histogram((0, 0, 0, 0)))
    rest |= dict.fromkeys(
        ("pool_in_use", "pool_size", "outbox_lag_seconds", "intake_lag_seconds", "queue_jobs",
         "queue_oldest_seconds", "dead_letters"), 0,
    )  # fmt: skip
    return Vitals(
        id=worker, kind="lockstep", host="shop", pid=1, started_at=started_at, at=at,
        outcomes={"placed": placed} if outcomes is None else dict(outcomes),
        conflicts=dict(conflicts or {}), latency=histogram(latency), **rest,
    )  # fmt: skip


def test_the_first_reading_is_where_counting_begins() -> None:
    rates = Rates()
    rates.add([told(100, 5000, conflicts={"1213:lock_stock": 7}, latency=(9, 0, 0, 0))], now=0)
    assert rates.orders_per_second() == 0
    assert not rates.outcomes()
    assert not rates.conflicts()
    assert rates.latency() is None


def test_a_rate_is_what_was_counted_within_the_time_of_the_worker() -> None:
    rates = Rates()
    rates.add([told(100, 5000)], now=0)
    rates.add([told(102, 5300)], now=1)  # it has told something twice since
    assert rates.orders_per_second() == 150
    assert rates.outcomes() == {"placed": 300}


def test_the_rates_of_all_workers_come_to_the_rate() -> None:
    rates = Rates()
    rates.add([told(100, 10, worker="a"), told(100, 20, worker="b")], now=0)
    rates.add([told(101, 40, worker="a"), told(101, 90, worker="b")], now=1)
    assert (rates.orders_per_second("a"), rates.orders_per_second("b")) == (30, 70)
    assert rates.orders_per_second() == 100


def test_a_worker_that_has_told_nothing_new_keeps_its_rate_for_a_little_while() -> None:
    rates = Rates()
    rates.add([told(100, 0)], now=0)
    rates.add([told(101, 50)], now=1)
    rates.add([told(101, 50)], now=1 + STALE_SECONDS - 0.1)
    assert rates.orders_per_second() == 50
    assert rates.outcomes() == {"placed": 50}, "and is not counted twice"
    rates.add([told(101, 50)], now=1 + STALE_SECONDS)
    assert rates.orders_per_second() == 0


def test_a_worker_that_has_started_since_counts_from_nothing() -> None:
    rates = Rates()
    rates.add([told(100, 10, worker="old")], now=0)
    rates.add([told(101, 10, worker="old"), told(101, 30, worker="new")], now=1.5)
    assert rates.outcomes() == {"placed": 30}
    assert rates.orders_per_second("new") == 20


def test_a_worker_that_starts_again_under_the_same_id_counts_from_nothing() -> None:
    """In a container the process id is the same each time."""
    rates = Rates()
    rates.add(
        [told(100, 5000, started_at=1.1, conflicts={"1213:lock_stock": 9}, latency=(900, 0, 0, 0))], now=0
    )
    rates.add([told(101, 20, started_at=1.9, conflicts={"1213:lock_stock": 1}, latency=(0, 20, 0, 0))], now=1)
    assert rates.outcomes() == {"placed": 20}
    assert rates.conflicts() == {"1213:lock_stock": 1}
    latency = rates.latency()
    assert latency
    assert latency.jobs == 20
    assert rates.orders_per_second() == 20


def test_what_a_worker_did_outlives_it_for_a_minute() -> None:
    rates = Rates()
    rates.add([told(100, 0)], now=0)
    rates.add([told(101, 50)], now=1)
    rates.add([], now=1 + STALE_SECONDS)
    assert rates.orders_per_second() == 0
    assert rates.outcomes() == {"placed": 50}
    rates.add([], now=1 + WINDOW_SECONDS)
    assert not rates.outcomes()


def test_a_worker_that_was_frozen_goes_on_where_it_was() -> None:
    rates = Rates()
    rates.add([told(100, 5000)], now=0)
    rates.add([], now=300)
    rates.add([told(500, 5040)], now=400)
    assert rates.outcomes() == {"placed": 40}
    assert rates.orders_per_second() == 0.1


def test_a_worker_that_is_long_gone_is_forgotten() -> None:
    rates = Rates()
    rates.add([told(100, 5000)], now=0)
    rates.add([], now=FORGET_SECONDS)
    rates.add([told(100 + FORGET_SECONDS, 5040)], now=FORGET_SECONDS + 1)
    assert rates.outcomes() == {"placed": 5040}, "as one that is new"


@pytest.mark.parametrize("skew", [-86_400.0, 0.0, 1e9])
def test_no_clock_of_a_worker_has_to_agree_with_another(skew: float) -> None:
    rates = Rates()
    rates.add([told(100 + skew, 10, worker="a"), told(100, 0, worker="b")], now=7)
    rates.add([told(102 + skew, 30, worker="a"), told(101, 5, worker="b")], now=8)
    assert rates.orders_per_second("a") == 10
    assert rates.orders_per_second() == 15


def test_a_clock_that_is_set_back_makes_no_rate_below_zero() -> None:
    rates = Rates()
    rates.add([told(100, 10)], now=0)
    rates.add([told(40, 30)], now=1)
    assert rates.orders_per_second() == 0
    assert rates.outcomes() == {"placed": 20}
    rates.add([told(41, 37)], now=2)
    assert rates.orders_per_second() == 7


def test_rejections_are_orders_and_cancellations_are_none() -> None:
    rates = Rates()
    kinds = ("placed", "rejected:credit_limit", "cancelled", "shipped", "restocked", "invalid", "conflict")
    rates.add([told(100, outcomes={})], now=0)
    rates.add([told(101, outcomes=dict.fromkeys(kinds, 10))], now=1)
    assert rates.orders_per_second() == 20
    assert rates.outcomes() == dict.fromkeys(kinds, 10)


def test_latency_is_of_the_last_seconds_and_of_all_workers() -> None:
    rates = Rates()
    rates.add([told(100, worker="a"), told(100, worker="b")], now=0)
    rates.add([told(101, worker="a", latency=(0, 0, 0, 5)), told(101, worker="b")], now=1)
    rates.add(
        [told(109, worker="a", latency=(50, 0, 0, 5)), told(109, worker="b", latency=(40, 10, 0, 0))], now=11
    )
    latency = rates.latency()
    assert latency
    assert latency.jobs == 100, "the slow ones of ten seconds ago are past"
    assert latency.p50 == pytest.approx(0.01 * 50 / 90)
    assert latency.p95 == pytest.approx(0.01 + 0.09 * 5 / 10)


@given(
    values=st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=50),
    percent=st.sampled_from([1, 50, 95, 99, 100]),
)
def test_a_percentile_lies_in_the_bucket_of_the_value_that_it_estimates(
    values: list[float], percent: int
) -> None:
    buckets = (*BOUNDS, math.inf)
    counts = Counter(dict.fromkeys(buckets, 0))
    counts.update(next(bound for bound in buckets if value <= bound) for value in values)
    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    estimate = percentile(counts, percent)
    upper = next(bound for bound in buckets if exact <= bound)
    lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
    assert lower <= estimate <= min(upper, BOUNDS[-1])


@given(counts=st.fixed_dictionaries(dict.fromkeys([*BOUNDS, math.inf], st.integers(0, 100))))
def test_percentiles_ascend(counts: dict[float, int]) -> None:
    assume(sum(counts.values()))
    found = [percentile(counts, percent) for percent in (1, 50, 95, 99)]
    assert found == sorted(found)


def test_a_histogram_of_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="of nothing"):
        percentile({1.0: 0}, 50)
