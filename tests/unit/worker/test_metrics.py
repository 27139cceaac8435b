import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY, Counter
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from jobs.contract import Invalid, Outcome
from jobs.orders.outcomes import Placed, Rejected
from worker import metrics
from worker.metrics import Histogram


def told(name: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples of a metric as a scrape reads them: by their names, then by their labels' values."""
    families = {
        family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())
    }
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in families[name].samples:
        samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return samples


@pytest.fixture
def histogram() -> Iterator[Histogram]:
    made = Histogram("a_histogram", "Of a test.", ["kind"], bounds=(1, 2.5))
    yield made
    REGISTRY.unregister(made)


@pytest.fixture
def counter() -> Iterator[Counter]:
    made = Counter("a_counter_total", "Of a test.", ["code", "statement"])
    yield made
    REGISTRY.unregister(made)


def test_a_value_is_in_the_first_bucket_that_holds_it_and_in_all_larger_ones(histogram: Histogram) -> None:
    for value in (0.5, 1, 1.1, 2.5, 3):
        histogram.observe(value, "x")
    histogram.observe(9, "y")
    assert told("a_histogram") == {
        "a_histogram_bucket": {
            ("x", "1.0"): 2, ("x", "2.5"): 4, ("x", "+Inf"): 5,
            ("y", "1.0"): 0, ("y", "2.5"): 0, ("y", "+Inf"): 1,
        },
        "a_histogram_count": {("x",): 5, ("y",): 1},
        "a_histogram_sum": {("x",): pytest.approx(8.1), ("y",): 9},
    }  # fmt: skip
    assert histogram.cumulative() == [2, 4, 6]
    assert histogram.sum() == pytest.approx(17.1)


def test_a_histogram_without_values_has_none(histogram: Histogram) -> None:
    assert told("a_histogram") == {}
    assert (histogram.cumulative(), histogram.sum()) == ([0, 0, 0], 0)


def test_the_time_of_a_block_counts_also_where_it_fails(histogram: Histogram) -> None:
    with pytest.raises(ZeroDivisionError), histogram.time("x"):
        raise ZeroDivisionError
    assert histogram.cumulative()[-1] == 1
    assert 0 < histogram.sum() < 60


def test_totals_are_by_the_labels_that_are_asked_for(counter: Counter) -> None:
    for code, statement in (("1213", "lock_stock"), ("1213", "lock_customers"), ("1205", ""), ("1205", "")):
        counter.labels(code, statement).inc()
    assert metrics.totals(counter, "code", "statement") == {
        "1213:lock_stock": 1,
        "1213:lock_customers": 1,
        "1205": 2,
    }
    assert metrics.totals(counter, "code") == {"1213": 2, "1205": 2}


def test_outcomes_are__kind_and_reason() -> None:
    before = metrics.totals(metrics.OUTCOMES, "task", "outcome", "reason")
    outcomes: list[Outcome] = [
        Placed(order_id=uuid4(), total_cents=1),
        Placed(order_id=uuid4(), total_cents=2),
        Rejected(order_id=uuid4(), reason="credit_limit"),
        Invalid(error="no lines"),
    ]
    metrics.count_outcomes("place_orders", outcomes)
    after = metrics.totals(metrics.OUTCOMES, "task", "outcome", "reason")
    assert {kind: after[kind] - before.get(kind, 0) for kind in after if after[kind] != before.get(kind)} == {
        "place_orders:placed": 2,
        "place_orders:rejected:credit_limit": 1,
        "place_orders:invalid": 1,
    }


def ours() -> dict[str, str]:
    """Names and types of what we tell ourselves; a Counter's comes without its `_total`."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {family.name: family.type for family in families if family.name.startswith("lockstep_")}


def test_names_and_units_are_as_prometheus_asks() -> None:
    """https://prometheus.io/docs/practices/naming: base units, and a plural noun or a unit at the end."""
    names = ours()
    assert len(names) > 15
    for name, kind in names.items():
        assert re.fullmatch(r"lockstep(_[a-z]+)+", name)
        assert not name.endswith(
            ("_ms", "_milliseconds", "_minutes", "_count", "_sum", "_bucket", "_total")
        ), name
        assert name.endswith("_seconds") or kind in {"counter", "gauge", "histogram"}


def test_the_process_itself_is_told_too() -> None:
    names = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= names


def test_no_series_tells_when_another_began() -> None:
    metrics.DEFERRED.labels("place_order").inc()
    samples: list[Sample] = [sample for family in REGISTRY.collect() for sample in family.samples]
    assert not [sample.name for sample in samples if sample.name.endswith("_created")]
