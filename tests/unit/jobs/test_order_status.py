from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
import pytest

from jobs.contract import Conflict, Outcome
from jobs.orders.order_status import Accepted, Ask, OrderNow, SoldLine, accepted_before, find_order
from jobs.orders.outcomes import AlreadyCancelled, AlreadyShipped, Cancelled, Placed, Rejected, Shipped
from tests.shop import an_order
from tests.unit.jobs.recording import RecordingTransaction

ORDER_ID: Final = UUID(int=255)
NONE: Final[dict[str, Any]] = dict.fromkeys(
    ("order_id", "customer_id", "status", "reason", "rejected_product_id", "total_cents", "fingerprint",
     "placed_at", "bought")
) | {"staged": 0}  # fmt: skip
PLACED: Final = NONE | {
    "order_id": ORDER_ID.hex,
    "customer_id": 1,
    "status": "placed",
    "total_cents": 500,
    "fingerprint": "ab" * 16,
    "placed_at": datetime(2026, 1, 31, 12),  # noqa: DTZ001  # as the driver gives it
    "bought": "[[9, 1, 300], [7, 2, 100]]",
}


class Reader(RecordingTransaction):
    """Gives `order_now` as it is: the array is one of its columns, and not all of them."""

    async def fetch(self, statement: Any, parameters: Any) -> Any:
        if statement.name == "order_now":
            self._record(statement, parameters)
            return self._rows["order_now"]
        return await super().fetch(statement, parameters)


async def test_a_placed_order_has_its_lines_by_ascending_product() -> None:
    reader = Reader({"order_now": [PLACED]})
    assert await find_order(reader, ORDER_ID) == OrderNow(
        order_id=ORDER_ID,
        status="placed",
        first_outcome=Placed(order_id=ORDER_ID, total_cents=500),
        customer_id=1,
        total_cents=500,
        placed_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        lines=(
            SoldLine(product_id=7, quantity=2, unit_price_cents=100),
            SoldLine(product_id=9, quantity=1, unit_price_cents=300),
        ),
    )
    assert reader.sent("order_now") == {"order_id": ORDER_ID.hex}


async def test_a_rejected_order_has_none() -> None:
    row = PLACED | {"status": "rejected", "reason": "credit_limit", "total_cents": 0, "bought": None}
    found = await find_order(Reader({"order_now": [row]}), ORDER_ID)
    assert isinstance(found, OrderNow)
    assert (found.first_outcome, found.lines) == (Rejected(order_id=ORDER_ID, reason="credit_limit"), ())


@pytest.mark.parametrize(("staged", "expected"), [(1, Accepted(order_id=ORDER_ID)), (0, None)])
async def test_an_order_without_an_outcome_is_accepted_where_it_is_staged(
    staged: int, expected: Accepted | None
) -> None:
    assert await find_order(Reader({"order_now": [NONE | {"staged": staged}]}), ORDER_ID) == expected


async def test_what_was_accepted_before_is_told_from_what_is_new_and_what_has_other_content() -> None:
    orders = [an_order({7: 1}, order_id=UUID(int=number)) for number in range(1, 7)]
    new, staged, staged_other, staged_nonsense, placed, staged_and_placed = orders
    other = an_order({8: 1}, order_id=staged_other.order_id)
    reader = RecordingTransaction(
        {
            "staged_requests": [
                {"order_id": staged.order_id.hex, "request": staged.model_dump_json()},
                {"order_id": staged_other.order_id.hex, "request": other.model_dump_json()},
                {"order_id": staged_nonsense.order_id.hex, "request": "[]"},
                {"order_id": staged_and_placed.order_id.hex, "request": staged_and_placed.model_dump_json()},
            ],
            "known_orders": [
                {name: PLACED[name] for name in PLACED.keys() - {"placed_at", "bought", "staged"}}
                | {"order_id": order.order_id.hex, "fingerprint": order.fingerprint}
                for order in (placed, staged_and_placed)
            ],
        }
    )
    assert await accepted_before(reader, {order.order_id: order for order in orders}) == {
        staged.order_id: Accepted(order_id=staged.order_id),
        staged_other.order_id: Conflict(id=staged_other.order_id),
        staged_nonsense.order_id: Conflict(id=staged_nonsense.order_id),
        placed.order_id: Placed(order_id=placed.order_id, total_cents=500),
        staged_and_placed.order_id: Placed(order_id=staged_and_placed.order_id, total_cents=500),
    }
    assert new.order_id.hex in orjson.dumps(reader.sent("staged_requests")).decode()
    assert reader.statements == ["staged_requests", "known_orders"], "what moves, moves from there to here"


@pytest.mark.parametrize(
    ("status", "asked", "decided"),
    [
        ("placed", "cancel", None),
        ("placed", "ship", None),
        ("cancelled", "cancel", Cancelled(order_id=ORDER_ID)),
        ("cancelled", "ship", AlreadyCancelled(order_id=ORDER_ID)),
        ("shipped", "cancel", AlreadyShipped(order_id=ORDER_ID)),
        ("shipped", "ship", Shipped(order_id=ORDER_ID)),
        ("rejected", "cancel", Rejected(order_id=ORDER_ID, reason="credit_limit")),
        ("rejected", "ship", Rejected(order_id=ORDER_ID, reason="credit_limit")),
    ],
)
async def test_only_of_a_placed_order_a_worker_has_to_decide(
    status: str, asked: Ask, decided: Outcome | None
) -> None:
    reason = {"reason": "credit_limit"} if status == "rejected" else {}
    found = await find_order(Reader({"order_now": [PLACED | {"status": status} | reason]}), ORDER_ID)
    assert isinstance(found, OrderNow)
    assert found.decided(asked) == decided
