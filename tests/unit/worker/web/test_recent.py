import math
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from worker.queue.seconds import Record, packed
from worker.web.recent import HISTORY_SECONDS, LATENCY_SECONDS, WINDOW_SECONDS, Recent, percentile

BUCKETS = tuple(pairwise((0.0, 0.01, 0.1, 1.0, math.inf)))
NOW = 1_000_000


def read(recent: Recent, now: int, kept: Mapping[int, Record], jobs: int = 0) -> Recent:
    """One reading of Redis, which has these records and no others."""
    for second in recent.unread(now):
        recent.add(second, kept.get(second, Record({})))
    recent.go_on(now, jobs)
    return recent


def of(now: int = NOW, /, **counts: int) -> dict[int, Record]:
    return {now: Record(counts)}


def took(*product_ids: int) -> Record:
    return Record({"placed": 1}, packed(product_ids))


def test_the_first_reading_has_all_that_happened_before() -> None:
    recent = read(Recent(), NOW, {
        NOW - HISTORY_SECONDS: Record({"placed": 1, "jobs": 9}),
        NOW - WINDOW_SECONDS: Record({"placed": 20, "rejected:credit_limit": 4}),
        NOW - 2: Record({"placed": 300, "rejected:credit_limit": 5, "conflict:1213:lock_stock": 7, "jobs": 80}),
    })  # fmt: skip
    assert recent.outcomes() == {"placed": 300, "rejected:credit_limit": 5}
    assert recent.conflicts() == {"1213:lock_stock": 7}
    assert recent.points() == [
        (NOW - HISTORY_SECONDS + 1, 1, 9), (NOW - WINDOW_SECONDS + 1, 24, None), (NOW - 1, 305, 80),
    ]  # fmt: skip


def test_only_what_was_not_over_is_read_again_and_it_is_not_counted_twice() -> None:
    recent = Recent()
    assert recent.unread(NOW) == range(NOW - HISTORY_SECONDS, NOW + 1)
    read(recent, NOW, {NOW: took(7)})
    assert recent.unread(NOW + 2) == range(NOW, NOW + 3)
    both = Record({"placed": 2}, packed([7]) + packed([7, 8]))
    read(recent, NOW + 2, {NOW: both, NOW + 1: took(7)})
    assert recent.outcomes() == {"placed": 3}
    assert recent.placed() == 3
    assert recent.hottest(5) == [(7, 3), (8, 1)]


def test_a_second_that_is_not_over_is_counted_and_has_no_rate_yet() -> None:
    recent = read(Recent(), NOW, of(placed=50))
    assert recent.outcomes() == {"placed": 50}
    assert recent.orders_per_second() == 0
    assert recent.points() == []
    read(recent, NOW + 1, of(placed=90))
    assert recent.orders_per_second() == 90
    assert recent.points() == [(NOW + 1, 90, 0)]
    read(recent, NOW + 2, {})
    assert recent.orders_per_second() == 0
    assert recent.points() == [(NOW + 1, 90, 0), (NOW + 2, 0, 0)]


def test_what_could_not_be_read_for_a_while_is_read_later() -> None:
    recent = read(Recent(), NOW, {})
    read(recent, NOW + 20, {NOW + 10: Record({"placed": 5})})
    assert recent.outcomes() == {"placed": 5}
    assert [at for at, *_ in recent.points()] == [NOW + 1, NOW + 11], "of the others nothing is known"


def test_nothing_is_read_that_is_older_than_five_minutes() -> None:
    recent = read(Recent(), NOW, {})
    assert recent.unread(NOW + 9_000) == range(NOW + 9_000 - HISTORY_SECONDS, NOW + 9_001)


def test_all_is_forgotten_in_its_time() -> None:
    counts = {"placed": 2, "outcome:restocked": 1, "deferred:restock": 3}
    kept = {NOW: Record(counts, packed([1, 1]))}
    recent = read(Recent(), NOW, kept)
    read(recent, NOW + WINDOW_SECONDS - 1, kept)
    assert (recent.placed(), recent.hottest(1), recent.deferred()) == (2, [(1, 2)], 3)
    read(recent, NOW + WINDOW_SECONDS, kept)
    assert (recent.placed(), recent.hottest(1), recent.deferred()) == (0, [], 0)
    assert not recent.outcomes()
    read(recent, NOW + HISTORY_SECONDS, kept)
    assert recent.points()[0] == (NOW + 1, 2, 0)
    read(recent, NOW + HISTORY_SECONDS + 1, kept)
    assert recent.points()[0] == (NOW + WINDOW_SECONDS, 0, 0)
    assert min(recent._records) > NOW
    assert min(recent._jobs) > NOW


def test_a_clock_that_is_set_back_makes_nothing_count_twice() -> None:
    """As after a failover to another machine."""
    recent = read(Recent(), NOW, {NOW: took(1), NOW - 30: took(2)})
    read(recent, NOW - 10, {NOW - 10: took(3)})
    assert recent.placed() == 2
    assert sorted(recent.hottest(5)) == [(2, 1), (3, 1)]
    read(recent, NOW, {NOW - 10: took(3), NOW: took(1)})
    assert recent.placed() == 3
    assert sorted(recent.hottest(5)) == [(1, 1), (2, 1), (3, 1)]


def test_the_hottest_are_those_that_most_orders_took() -> None:
    recent = read(Recent(), NOW, {NOW: took(1, 2), NOW - 1: took(2), NOW - 2: took(2, 3), NOW - 3: took(3)})
    assert recent.hottest(2) == [(2, 3), (3, 2)]
    assert recent.placed() == 4


def test_orders_are_placed_or_rejected_and_cancellations_are_none() -> None:
    counts = {
        "placed": 1,
        "rejected:credit_limit": 2,
        "cancelled": 4,
        "shipped": 8,
        "outcome:invalid": 16,
        "outcome:restocked": 32,
    }
    recent = read(Recent(), NOW + 1, {NOW: Record(counts)})
    assert recent.orders_per_second() == 3
    assert recent.outcomes() == {
        "placed": 1, "rejected:credit_limit": 2, "cancelled": 4, "shipped": 8, "invalid": 16, "restocked": 32,
    }  # fmt: skip


def test_fields_that_it_does_not_know_are_passed_over() -> None:
    counts = {"placed": 1, "invented": 5, "latency:p50": 5, "latency": 5, "invented:later": 5}
    recent = read(Recent(), NOW + 1, {NOW: Record(counts)})
    assert recent.outcomes() == {"placed": 1}
    assert recent.latency() is None
    assert recent.points() == [(NOW + 1, 1, None)]


def test_jobs_are_as_seen_here_or_else_as_a_worker_has_seen_them() -> None:
    recent = read(Recent(), NOW, {NOW - 1: Record({"jobs": 8}), NOW: Record({"jobs": 9})}, jobs=5)
    read(recent, NOW + 1, {NOW: Record({"jobs": 9})})
    assert recent.points() == [(NOW, 0, 8), (NOW + 1, 0, 5)]


def test_latency_is_of_the_last_seconds() -> None:
    recent = read(Recent(), NOW, {
        NOW - LATENCY_SECONDS: Record({"latency:1.0:inf": 50}),
        NOW - 3: Record({"latency:0.0:0.01": 50, "latency:0.01:0.1": 4}),
        NOW - 2: Record({"latency:0.0:0.01": 40, "latency:0.01:0.1": 6}),
    })  # fmt: skip
    latency = recent.latency()
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
    def bucket(value: float) -> tuple[float, float]:
        return next(bounds for bounds in BUCKETS if value <= bounds[1])

    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    lower, upper = bucket(exact)
    estimate = percentile(Counter(map(bucket, values)), percent)
    assert lower <= estimate <= min(upper, 1.0)


@given(counts=st.fixed_dictionaries(dict.fromkeys(BUCKETS, st.integers(0, 100))))
def test_percentiles_ascend(counts: dict[tuple[float, float], int]) -> None:
    assume(sum(counts.values()))
    found = [percentile(counts, percent) for percent in (1, 50, 95, 99)]
    assert found == sorted(found)


def test_a_histogram_of_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="of nothing"):
        percentile({(0.0, 1.0): 0}, 50)
