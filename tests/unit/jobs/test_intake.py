from uuid import UUID

import orjson

from jobs.intake import end_kept, end_staged, find_staged, stage, stage_orders
from jobs.orders.requests import PlaceOrder
from jobs.transaction import load_statements
from tests.shop import an_order
from tests.unit.jobs.recording import RecordingTransaction

FIRST, SECOND = UUID(int=1), UUID(int=2)


def test_what_is_staged_is_the_request_of_a_job_by_ascending_id() -> None:
    orders = [an_order({7: 1}, order_id=SECOND), an_order({9: 2}, order_id=FIRST)]
    statement, parameters = stage(iter(orders))
    assert statement == load_statements("intake.sql")["stage_orders"].text
    rows = orjson.loads(str(parameters["orders"]))
    assert [order_id for order_id, _ in rows] == [FIRST.hex, SECOND.hex]
    assert [PlaceOrder.model_validate_json(request) for _, request in rows] == orders[::-1]
    assert "placed_at" not in rows[0][1]


def test_whoever_enqueues_at_once_says_so() -> None:
    statement, _ = stage([an_order({1: 1})], at_once=True)
    assert statement == load_statements("intake.sql")["stage_orders_at_once"].text


async def test_whoever_stages_in_a_transaction_of_its_own_enqueues_at_once() -> None:
    transaction, order = RecordingTransaction(), an_order({7: 1})
    await stage_orders(transaction, [order])
    assert transaction.sent("stage_orders_at_once") == stage([order], at_once=True)[1]


async def test_staged_orders_are_found_among_others() -> None:
    reader = RecordingTransaction({"staged_orders": [{"order_ids": orjson.dumps([SECOND.hex]).decode()}]})
    assert await find_staged(reader, {SECOND, FIRST}) == {SECOND}
    assert reader.sent("staged_orders") == {"order_ids": [FIRST.hex, SECOND.hex]}


async def test_where_none_is_staged_none_is_found() -> None:
    assert await find_staged(RecordingTransaction({"staged_orders": [{"order_ids": None}]}), {FIRST}) == set()


async def test_of_those_that_end_only_what_nobody_holds_is_removed() -> None:
    transaction = RecordingTransaction({"free_staged": [{"order_id": SECOND.hex}]})
    await end_staged(transaction, [SECOND, FIRST])
    assert transaction.sent("free_staged") == {"order_ids": [FIRST.hex, SECOND.hex]}
    assert transaction.sent("delete_staged") == {"order_ids": [SECOND.hex]}


async def test_where_all_are_held_none_is_removed() -> None:
    transaction = RecordingTransaction({"free_staged": []})
    await end_staged(transaction, [FIRST])
    assert transaction.statements == ["free_staged"]


async def test_what_is_kept_elsewhere_ends_where_it_is_staged_with_the_same_content() -> None:
    same, other, none = (an_order({1: 1}, order_id=UUID(int=number)) for number in (1, 2, 3))
    requests = [same.model_dump_json(), an_order({1: 2}, order_id=other.order_id).model_dump_json(), "{}"]
    rows = [
        {"order_id": order.order_id.hex, "request": request}
        for order, request in zip((same, other, none), requests, strict=True)
    ]
    transaction = RecordingTransaction({"free_requests": rows})
    await end_kept(transaction, [none, other, same])
    assert transaction.sent("free_requests") == {"order_ids": [row["order_id"] for row in rows]}
    assert transaction.sent("delete_staged") == {"order_ids": [same.order_id.hex]}
