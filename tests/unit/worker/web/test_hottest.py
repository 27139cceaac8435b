from collections.abc import Mapping

from worker.queue.event_tail import Tail, TailEvent
from worker.web.hottest import WINDOW_SECONDS, Hottest


def placed(at: int, *product_ids: int) -> TailEvent:
    lines = [{"product_id": product_id, "quantity": 9} for product_id in product_ids]
    return TailEvent(at, "order.placed", {"status": "placed", "lines": lines})


def read(hottest: Hottest, at: int, *events: TailEvent, cut: bool = False) -> Mapping[int, int]:
    hottest.add(Tail(at, list(events), cut))
    return dict(hottest.top(10))


def test_the_hottest_are_those_that_most_orders_took() -> None:
    hottest = Hottest()
    read(hottest, 100, placed(100, 1, 2), placed(100, 2), placed(99, 2, 3), placed(99, 3))
    assert hottest.top(2) == [(2, 3), (3, 2)]
    assert hottest.orders == 4


def test_other_events_take_nothing() -> None:
    hottest = Hottest()
    rejected = TailEvent(100, "order.rejected", {"status": "rejected", "reason": "credit_limit"})
    assert read(hottest, 100, rejected) == {}
    assert hottest.orders == 0


def test_an_order_is_forgotten_after_a_minute() -> None:
    hottest = Hottest()
    read(hottest, 100, placed(100, 1), placed(101, 1, 2))
    assert read(hottest, 99 + WINDOW_SECONDS) == {1: 2, 2: 1}
    assert read(hottest, 100 + WINDOW_SECONDS) == {1: 1, 2: 1}
    assert read(hottest, 101 + WINDOW_SECONDS) == {}
    assert hottest.orders == 0


def test_it_says_for_a_minute_that_there_were_more() -> None:
    hottest = Hottest()
    read(hottest, 100, placed(100, 1))
    assert not hottest.sampled
    read(hottest, 101, placed(101, 1), cut=True)
    assert hottest.sampled
    read(hottest, 100 + WINDOW_SECONDS)
    assert hottest.sampled
    read(hottest, 101 + WINDOW_SECONDS)
    assert not hottest.sampled
