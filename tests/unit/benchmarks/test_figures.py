import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Figure, percentile

values = st.lists(st.floats(0, 1000), min_size=1)


@pytest.mark.parametrize(
    ("percent", "wanted"), [(50, 50), (95, 95), (99, 99), (99.9, 100), (100, 100), (0.5, 1), (0, 1)]
)
def test_a_percentile_is_the_value_at_its_rank(percent: float, wanted: int) -> None:
    assert percentile([*range(100, 0, -1)], percent) == wanted


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 99.9) == 7.0


@given(values, st.floats(0, 100))
def test_so_many_percent_of_the_values_do_not_exceed_their_percentile(
    numbers: list[float], percent: float
) -> None:
    cut = percentile(numbers, percent)
    assert cut in numbers
    assert sum(number <= cut for number in numbers) >= len(numbers) * percent / 100


def test_a_figure_is_the_median_of_its_rounds_between_the_extremes() -> None:
    figure = Figure("speed", "orders/s", [30.0, 10.0, 26.0])
    assert (figure.low, figure.median, figure.high) == (10.0, 26.0, 30.0)
