"""A batch holds as many requests as take it half a second."""

from worker.queue.batch_size import LEAST, MOST, MOST_SECONDS, BatchSize

SLOW = 1.01 * MOST_SECONDS
QUICK = MOST_SECONDS / 10


def test_it_begins_with_the_least_and_has_full_size_after_a_quick_batch() -> None:
    size = BatchSize()
    assert size.now == LEAST == 60
    size.took(LEAST, QUICK)
    assert size.now == MOST == 300
    size.took(MOST, 0)
    assert size.now == MOST


def test_after_a_full_batch_it_is_as_many_as_would_take_half_the_time_at_its_pace() -> None:
    size = BatchSize()
    size.took(LEAST, MOST_SECONDS / 4)
    assert size.now == 2 * LEAST
    size.took(2 * LEAST, 0.4 * MOST_SECONDS)
    assert size.now == 150


def test_it_is_halved_after_a_batch_that_took_too_long_and_never_below_the_least() -> None:
    size = BatchSize(MOST)
    sizes = []
    for _ in range(5):
        size.took(size.now, SLOW)
        sizes.append(size.now)
    assert sizes == [150, 75, LEAST, LEAST, LEAST]


def test_a_small_batch_that_took_too_long_halves_it_too() -> None:
    """It waited for a row, or for the processor: more requests would have waited as long."""
    size = BatchSize(MOST)
    size.took(1, SLOW)
    assert size.now == MOST // 2


def test_a_quick_batch_that_was_not_full_says_nothing_about_larger_ones() -> None:
    size = BatchSize()
    size.took(LEAST - 1, QUICK)
    assert size.now == LEAST


def test_it_stays_while_batches_take_nearly_as_long_as_they_may() -> None:
    size = BatchSize()
    for seconds in (MOST_SECONDS / 2, MOST_SECONDS):
        size.took(LEAST, seconds)
        assert size.now == LEAST


def test_a_batch_that_waited_in_vain_makes_it_the_least_at_once() -> None:
    size = BatchSize(MOST)
    size.shrink()
    assert size.now == LEAST
