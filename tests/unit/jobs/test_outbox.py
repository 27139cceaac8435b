from typing import Any

import pytest

from jobs.outbox import RecordedEvent

NAMED = [{"product_id": 3, "quantity": 2, "unit_price_cents": 5}]


@pytest.mark.parametrize("recorded", [[[3, 2, 5]], NAMED], ids=["as it is", "as version 0.1.0 wrote it"])
def test_who_reads_an_event_is_told_the_names_in_its_lines(recorded: list[Any]) -> None:
    event = RecordedEvent(1, "ab" * 16, "order.placed", {"total_cents": 10, "lines": recorded}, "")
    assert event.told() == {"total_cents": 10, "lines": NAMED}


def test_what_a_cancellation_gives_back_has_no_price() -> None:
    event = RecordedEvent(1, "ab" * 16, "order.cancelled", {"lines": [[3, 2]]}, "")
    assert event.told() == {"lines": [{"product_id": 3, "quantity": 2}]}


def test_an_event_without_lines_is_told_as_it_is() -> None:
    event = RecordedEvent(1, "ab" * 16, "order.shipped", {"status": "shipped"}, "")
    assert event.told() == {"status": "shipped"}
