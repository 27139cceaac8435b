from typing import Any
from uuid import UUID

import pytest

from jobs.contract import Conflict
from jobs.orders.known_orders import KnownOrder, find_orders, find_placed_order, known_outcomes
from jobs.orders.outcomes import AnyOutcome, Cancelled, NotFound, Placed, Rejected, Shipped
from jobs.orders.requests import PlaceOrder
from tests.shop import an_order
from tests.unit.jobs.recording import RecordingTransaction

ORDER_ID = UUID(int=255)
ROW = {
    "order_id": ORDER_ID.hex,
    "customer_id": 1,
    "status": "placed",
    "reason": None,
    "rejected_product_id": None,
    "total_cents": 500,
    "fingerprint": "ab" * 16,
}
REJECTED_ROW = {
    **ROW,
    "status": "rejected",
    "reason": "insufficient_stock",
    "rejected_product_id": 7,
    "total_cents": 0,
}
PLACED = Placed(order_id=ORDER_ID, total_cents=500)
REJECTED = Rejected(order_id=ORDER_ID, reason="insufficient_stock", product_id=7)


async def known(**changes: object) -> KnownOrder:
    reader = RecordingTransaction({"known_orders": [{**ROW, **changes}]})
    return (await find_orders(reader, [ORDER_ID]))[ORDER_ID]


@pytest.mark.parametrize("status", ["placed", "cancelled", "shipped"])
async def test_the_first_outcome_does_not_change_with_the_status(status: str) -> None:
    assert (await known(status=status)).first_outcome() == PLACED


async def test_the_first_outcome_of_a_rejected_order_says_why() -> None:
    assert (await known(**REJECTED_ROW)).first_outcome() == REJECTED


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("placed", PLACED),
        ("cancelled", Cancelled(order_id=ORDER_ID)),
        ("shipped", Shipped(order_id=ORDER_ID)),
    ],
)
async def test_the_standing_outcome_is_what_the_order_is_now(status: str, outcome: AnyOutcome) -> None:
    assert (await known(status=status)).standing_outcome() == outcome


async def test_the_standing_outcome_of_a_rejected_order_is_its_first() -> None:
    assert (await known(**REJECTED_ROW)).standing_outcome() == REJECTED


async def test_orders_are_asked_for_by_ascending_id_and_found_by_id() -> None:
    reader = RecordingTransaction({"known_orders": [ROW]})
    found = await find_orders(reader, [UUID(int=256), ORDER_ID])
    assert reader.sent("known_orders") == {"order_ids": [ORDER_ID.hex, UUID(int=256).hex]}
    assert found == {ORDER_ID: KnownOrder(**{**ROW, "order_id": ORDER_ID})}  # type: ignore[arg-type]  # a row


async def test_a_placed_order_is_found() -> None:
    reader = RecordingTransaction({"known_orders": [ROW]})
    order = await find_placed_order(reader, ORDER_ID)
    assert isinstance(order, KnownOrder)
    assert (order.order_id, order.customer_id, order.total_cents) == (ORDER_ID, 1, 500)


async def test_an_order_without_an_outcome_is_not_found() -> None:
    reader = RecordingTransaction({"known_orders": []})
    assert await find_placed_order(reader, ORDER_ID) == NotFound(order_id=ORDER_ID)


async def test_a_rejected_order_was_never_placed() -> None:
    reader = RecordingTransaction({"known_orders": [REJECTED_ROW]})
    assert await find_placed_order(reader, ORDER_ID) == REJECTED


def known_row(order: PlaceOrder, **changes: object) -> dict[str, Any]:
    return {**ROW, "order_id": order.order_id.hex, "fingerprint": order.fingerprint, **changes}


async def test_known_orders_have_their_first_outcome_again_and_others_have_none() -> None:
    first, second, third = (an_order({3: n}, order_id=UUID(int=n)) for n in (1, 2, 3))
    rejected = {"status": "rejected", "reason": "credit_limit", "total_cents": 0}
    reader = RecordingTransaction(
        {"known_orders": [known_row(first, status="shipped"), known_row(second, **rejected)]}
    )
    assert await known_outcomes(reader, iter([first, second, third])) == {
        first.order_id: Placed(order_id=first.order_id, total_cents=500),
        second.order_id: Rejected(order_id=second.order_id, reason="credit_limit"),
    }


async def test_a_known_order_with_other_content_is_a_conflict() -> None:
    reader = RecordingTransaction({"known_orders": [known_row(an_order({3: 3}, order_id=ORDER_ID))]})
    other = an_order({3: 4}, order_id=ORDER_ID)
    assert await known_outcomes(reader, [other]) == {other.order_id: Conflict(id=other.order_id)}
