from uuid import uuid4

from jobs.sweep_intake import Unfit
from worker.queue.intake import _read


def test_a_number_that_nobody_can_hold_is_kept_as_it_was_staged() -> None:
    """MariaDB takes it for JSON; no sweep may stop at it."""
    order_id, request = uuid4(), '{"customer_id": 1e999}'
    unfit = _read(order_id, request)
    assert isinstance(unfit, Unfit)
    letter = unfit.letter
    assert letter.job_id == str(order_id)
    assert letter.request == request
