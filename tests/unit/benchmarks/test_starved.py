import pytest

from benchmarks.starved import Window, figures


def values(window: Window, thrown_away: int, finished: list[float]) -> dict[str, float]:
    return {name: value for name, (value, _) in figures(window, thrown_away, finished).items()}


def test_orders_that_come_after_the_time_are_not_delivered_in_it() -> None:
    came_to = values(Window(100.0, 145.0, 3, 1.5), 0, [101.0, 102.0, 130.0, 146.0])
    assert came_to["delivered"] == 3
    assert came_to["rate"] == pytest.approx(3 / 45)
    assert came_to["per-cpu-second"] == 2
    assert came_to["longest-wait"] == 45


def test_the_longest_gap_may_be_before_the_first_outcome_between_two_or_after_the_last() -> None:
    assert values(Window(100.0, 145.0, 2, 1.0), 0, [120.0, 130.0, 150.0])["longest-gap"] == 20
    assert values(Window(100.0, 145.0, 2, 1.0), 0, [101.0, 125.0, 150.0])["longest-gap"] == 24
    assert values(Window(100.0, 145.0, 2, 1.0), 0, [101.0, 110.0, 150.0])["longest-gap"] == 35


def test_the_time_ends_with_the_last_order() -> None:
    came_to = values(Window(100.0, 110.1, 2, 1.0), 0, [104.0, 110.0])
    assert came_to["rate"] == pytest.approx(0.2)
    assert came_to["longest-gap"] == 6
    assert came_to["longest-wait"] == 10


def test_each_outcome_took_a_run_and_its_share_of_those_that_were_thrown_away() -> None:
    assert values(Window(100.0, 145.0, 4, 1.0), 1, [101.0] * 4 + [150.0])["runs"] == 1.25


def test_where_nothing_is_delivered_all_runs_are_thrown_away() -> None:
    came_to = values(Window(100.0, 145.0, 0, 1.0), 2742, [150.0])
    assert came_to["runs"] == 2743
    assert came_to["longest-gap"] == 45


def test_where_no_batch_has_run_there_is_no_ratio() -> None:
    assert "runs" not in values(Window(100.0, 145.0, 0, 1.0), 0, [150.0])
