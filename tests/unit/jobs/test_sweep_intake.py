from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from jobs.contract import Conflict, Invalid
from jobs.dead_letters import DeadLetter
from jobs.locks import lock_overdue, lock_staged
from jobs.orders.outcomes import Placed
from jobs.orders.requests import PlaceOrder
from jobs.sweep_intake import Swept, Unfit, Work, find_work, sweep_intake
from tests.shop import an_order
from tests.unit.jobs.recording import RecordingTransaction

NEW, OTHER, KNOWN, CLASHING = (an_order({1: number}, order_id=UUID(int=number)) for number in range(1, 5))
LETTER = DeadLetter(
    job_id=str(KNOWN.order_id),
    job="place_order",
    error="it is no order",
    tries=1,
    buried_at=datetime.now(UTC),
)


NEWEST = partial(lock_staged, size=5)


def read(_: UUID, request: str) -> PlaceOrder | Unfit:
    return PlaceOrder.model_validate_json(request) if request else Unfit(LETTER, Invalid(error="it is none"))


def row(order: PlaceOrder) -> dict[str, str]:
    return {"order_id": order.order_id.hex, "request": order.model_dump_json()}


def known(order: PlaceOrder, **changes: object) -> dict[str, Any]:
    return {
        "order_id": order.order_id.hex,
        "customer_id": 1,
        "status": "placed",
        "reason": None,
        "rejected_product_id": None,
        "total_cents": 5,
        "fingerprint": order.fingerprint,
        **changes,
    }


def staged(
    *rows: dict[str, str], lock: str = "lock_staged", outcomes: tuple[dict[str, Any], ...] = ()
) -> RecordingTransaction:
    return RecordingTransaction({lock: rows, "known_orders": outcomes})


async def test_new_orders_are_marked_in_the_order_that_they_came() -> None:
    transaction = staged(row(OTHER), row(NEW))
    assert await sweep_intake(transaction, take=NEWEST, read=read) == Swept([OTHER, NEW], {})
    assert transaction.statements == ["lock_staged", "known_orders", "mark_enqueued"]
    assert transaction.sent("lock_staged") == {"size": 5}
    assert transaction.sent("mark_enqueued") == {"order_ids": [OTHER.order_id.hex, NEW.order_id.hex]}


async def test_where_nothing_is_staged_nothing_else_is_asked() -> None:
    transaction = staged()
    assert await sweep_intake(transaction, take=NEWEST, read=read) == Swept([], {})
    assert transaction.statements == ["lock_staged"]


async def test_overdue_orders_are_taken_again() -> None:
    transaction = staged(row(NEW), lock="lock_overdue")
    assert await sweep_intake(
        transaction, take=partial(lock_overdue, size=5, overdue_seconds=60), read=read
    ) == Swept([NEW], {})
    assert transaction.sent("lock_overdue") == {"size": 5, "overdue_seconds": 60}


async def test_an_order_that_has_an_outcome_ends_without_a_job() -> None:
    transaction = staged(
        row(KNOWN), row(CLASHING), row(NEW), outcomes=(known(KNOWN), known(CLASHING, fingerprint="ab" * 16))
    )
    swept = await sweep_intake(transaction, take=NEWEST, read=read)
    assert swept == Swept(
        [NEW],
        {
            KNOWN.order_id: Placed(order_id=KNOWN.order_id, total_cents=5),
            CLASHING.order_id: Conflict(id=CLASHING.order_id),
        },
    )
    assert transaction.sent("delete_staged") == {"order_ids": [KNOWN.order_id.hex, CLASHING.order_id.hex]}
    assert transaction.sent("mark_enqueued") == {"order_ids": [NEW.order_id.hex]}


async def test_a_request_that_is_no_order_is_buried_and_its_neighbours_go_on() -> None:
    transaction = staged({"order_id": KNOWN.order_id.hex, "request": ""}, row(NEW))
    swept = await sweep_intake(transaction, take=NEWEST, read=read)
    assert swept == Swept([NEW], {KNOWN.order_id: Invalid(error="it is none")})
    assert transaction.sent("record_dead_letter")["error"] == LETTER.error
    assert transaction.sent("delete_staged") == {"order_ids": [KNOWN.order_id.hex]}


async def test_one_question_tells_what_there_is_to_do() -> None:
    reader = RecordingTransaction({"work_for_a_sweep": [{"lag_microseconds": 5, "overdue": 0}]})
    assert await find_work(reader, 60) == Work(lag_microseconds=5, overdue=0)


def test_an_order_that_was_staged_in_this_moment_waits_as_well() -> None:
    assert Work(lag_microseconds=0, overdue=0).staged
    assert not Work(lag_microseconds=None, overdue=0).staged
