"""Traps of numbers and keys that are not the same everywhere."""

import asyncio
import json
from typing import Any
from uuid import UUID

import msgpack
import pytest
from arq.connections import ArqRedis
from arq.worker import func
from pydantic import ValidationError
from pymysql import err

from jobs.orders.add_catalogue import Product
from tests.asking import PATIENCE_SECONDS, Session, until_waiting
from tests.conftest import MakeClient
from tests.lab.traps.arq_workers import bare_queue, bare_worker, our_worker, result_of, run_dry
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue.idempotency import place_once
from worker.settings import Settings

EXACT = 2**53  # the last whole number before which a float knows every other one
MSGPACK = {"job_serializer": msgpack.packb, "job_deserializer": msgpack.unpackb}


async def test_float_money_wrong_three_tenths_are_more_than_a_limit_of_0_3(session: Session) -> None:
    """X01. In Python and in a DOUBLE alike."""
    assert 0.1 + 0.1 + 0.1 > 0.3
    await session.run(
        "CREATE TEMPORARY TABLE accounts (balance DOUBLE NOT NULL, credit_limit DOUBLE NOT NULL)"
    )
    await session.run("INSERT INTO accounts VALUES (0, 0.3)")
    for _ in range(3):
        await session.run("UPDATE accounts SET balance = balance + 0.1")
    assert await session.value("SELECT balance > credit_limit FROM accounts") == 1
    assert await session.value("SELECT balance - 0.3 = 0 FROM accounts") == 0, "and it is not 0.3 either"


async def test_decimal_money_wrong_the_price_is_rounded_without_a_word(session: Session) -> None:
    """X01. A DECIMAL(10,2) keeps eight screws at 0.125 as 1.04: strict mode refuses too large, not too fine."""
    await session.run("SET SESSION sql_mode = 'TRADITIONAL'")
    await session.run("CREATE TEMPORARY TABLE prices (price DECIMAL(10, 2) NOT NULL)")
    await session.run("INSERT INTO prices VALUES (0.125)")
    assert str(await session.value("SELECT 8 * price FROM prices")) == "1.04"


async def test_money_right_whole_cents_meet_the_limit_exactly(database: Database, session: Session) -> None:
    """X01. Three at 10 cents are 30 cents; a price that is no whole number of cents is refused."""
    await open_shop(database, {1: 5}, limits={1: 30})
    await session.run("UPDATE stock SET price_cents = 10")
    orders = [an_order({1: 1}) for _ in range(4)]
    outcomes = await place_once(database, orders, job="test")
    assert [outcome.status for outcome in outcomes] == ["placed", "placed", "placed", "rejected"]
    assert await session.value("SELECT balance_cents FROM customers WHERE customer_id = 1") == 30
    for price in (12.5, 12.0, "12"):
        with pytest.raises(ValidationError, match="price_cents"):
            Product.model_validate({"product_id": 1, "name": "screw", "price_cents": price, "available": 8})
    assert not await broken_invariants(database)


async def test_price_outside_of_the_lock_wrong_yesterdays_price_is_charged(
    database: Database, session: Session, other_session: Session
) -> None:
    """X02. The price rises between the read and the lock."""
    await open_shop(database, {1: 5})
    price = await session.value("SELECT price_cents FROM stock WHERE product_id = 1")
    await other_session.run("UPDATE stock SET price_cents = 150 WHERE product_id = 1")
    await session.run("BEGIN")
    (locked,) = await session.run("SELECT price_cents FROM stock WHERE product_id = 1 FOR UPDATE")
    await session.run(f"UPDATE customers SET balance_cents = balance_cents + {price} WHERE customer_id = 1")
    await session.run("COMMIT")
    charged = await session.value("SELECT balance_cents FROM customers WHERE customer_id = 1")
    assert (charged, locked["price_cents"]) == (100, 150)


async def test_price_outside_of_the_lock_right_the_price_is_that_of_the_locked_row(
    database: Database, session: Session, other_session: Session
) -> None:
    """X02. Whoever waits for the row reads what it holds then."""
    await open_shop(database, {1: 5})
    await session.run("BEGIN")
    await session.run("UPDATE stock SET price_cents = 150 WHERE product_id = 1")
    task = asyncio.create_task(place_once(database, [an_order({1: 1})], job="test"))
    await until_waiting(other_session, 1)
    await session.run("COMMIT")
    (outcome,) = await task
    assert outcome.model_dump()["total_cents"] == 150
    assert await session.value("SELECT unit_price_cents FROM order_lines") == 150
    assert not await broken_invariants(database)


async def test_collation_wrong_keys_that_differ_are_the_same_order(
    settings: Settings, session: Session
) -> None:
    """X04. The queue tells the keys apart by their bytes, and the unique key by what they look like."""
    await session.run(
        "CREATE TEMPORARY TABLE placed (order_key VARCHAR(64) COLLATE utf8mb4_general_ci NOT NULL PRIMARY KEY)"
    )

    async def place(ctx: Any, key: str) -> str:
        try:
            await session.run(f"INSERT INTO placed VALUES ('{key}')")
        except err.IntegrityError as error:
            return "known before" if error.args[0] == 1062 else "failed"
        return "placed"

    keys = ["A1", "a1", "A1 ", "Á1"]
    async with bare_queue(settings.redis_url) as queue:
        assert all([await queue.enqueue_job("place", key, _job_id=key) for key in keys])
        await run_dry(bare_worker(queue, [func(place, name="place")], max_jobs=1))
        results = [(await result_of(queue, key)).result for key in keys]
    assert sorted(results) == ["known before"] * 3 + ["placed"], "four customers, one order"


async def test_collation_right_a_key_is_its_sixteen_bytes(
    redis: ArqRedis, database: Database, settings: Settings, session: Session, make_client: MakeClient
) -> None:
    """X04. Ids that a collation would call equal are four orders; four spellings of one id are one."""
    await open_shop(database, {1: 10})
    client = make_client(100)
    for key in (b"A" * 16, b"a" * 16, b"A" * 15 + b" ", b"A" * 15 + b"\0"):
        assert not (await client.place(an_order({1: 1}, order_id=UUID(bytes=key)))).known
    one = an_order({1: 1})
    for spelling in (str(one.order_id).upper(), one.order_id.hex, f"{{{one.order_id}}}", one.order_id.urn):
        request = one.model_dump(mode="json") | {"order_id": spelling}
        assert await redis.enqueue_job("place_order", request, _job_id=spelling)
    await run_dry(our_worker(redis, database, settings))
    assert await session.value("SELECT COUNT(*) FROM orders WHERE status = 'placed'") == 5
    assert await session.value("SELECT available FROM stock") == 5
    assert not await broken_invariants(database)


def as_javascript_reads_it(order: Any) -> Any:
    """JSON.parse knows no whole numbers, only doubles."""
    return json.loads(order.model_dump_json(exclude_none=True), parse_int=float)


async def test_json_numbers_wrong_the_neighbour_is_sold(
    settings: Settings, database: Database, session: Session
) -> None:
    """X08. A producer that reads JSON into doubles orders another product, and nothing fails."""
    await open_shop(database, {EXACT: 5, EXACT + 1: 5})

    async def place(ctx: Any, order: dict[str, Any]) -> None:
        (line,) = order["lines"]
        await session.run(
            f"UPDATE stock SET available = available - 1 WHERE product_id = {int(line['product_id'])}"
        )

    async with bare_queue(settings.redis_url, **MSGPACK) as queue:
        await queue.enqueue_job("place", as_javascript_reads_it(an_order({EXACT + 1: 1})), _job_id="order 1")
        await run_dry(bare_worker(queue, [func(place, name="place")], **MSGPACK))
        assert (await result_of(queue, "order 1")).success
    assert await stock(session) == {EXACT: 4, EXACT + 1: 5}


async def test_json_numbers_right_a_whole_number_arrives_whole_or_is_refused(
    redis: ArqRedis, settings: Settings, database: Database, session: Session, make_client: MakeClient
) -> None:
    """X08. Neither Python, msgpack nor JSON_TABLE takes the way by a double, and a double is no id."""
    largest = 2**63 - 1
    await open_shop(database, {EXACT: 5, EXACT + 1: 5, largest - 1: 5, largest: 5})
    receipt = await make_client(100).place(an_order({EXACT + 1: 1, largest: 1}))
    await redis.enqueue_job("place_order", as_javascript_reads_it(an_order({EXACT + 1: 1})), _job_id="double")
    await run_dry(our_worker(redis, database, settings))
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await stock(session) == {EXACT: 5, EXACT + 1: 4, largest - 1: 5, largest: 4}
    refused = (await result_of(redis, "double")).result
    assert refused["status"] == "invalid"
    assert "lines.0.product_id" in refused["error"]


async def stock(session: Session) -> dict[int, int]:
    rows = await session.run("SELECT product_id, available FROM stock")
    return {row["product_id"]: row["available"] for row in rows}
