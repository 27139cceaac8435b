"""`arq benchmarks.reference.worker.Settings`: orders placed one by one, with arq, aiomysql and care.

One transaction an order; rows are locked with `ORDER BY id FOR UPDATE`; deadlocks are tried again. Left out are only
things that would make it slower: a check of the request, repeated deliveries, limits of time.
"""

import asyncio
import json
import logging
import os
import random
from hashlib import md5
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiomysql
import msgpack
import uvloop
from arq.connections import RedisSettings
from pymysql.err import OperationalError

POOL_SIZE: Final = 10
MOST_ATTEMPTS: Final = 20
TRY_AGAIN: Final = {1213, 1205}  # deadlock, lock wait timeout
Order = dict[str, Any]


async def startup(ctx: dict[str, Any]) -> None:
    """Open the pool."""
    logging.getLogger("arq").setLevel(logging.WARNING)  # else two lines a job
    url = urlsplit(os.environ["LOCKSTEP_MYSQL_URL"])
    ctx["pool"] = await aiomysql.create_pool(
        host=url.hostname,
        port=url.port,
        user=url.username,
        password=unquote(url.password or ""),
        db=url.path.strip("/"),
        charset="utf8mb4",
        minsize=POOL_SIZE,
        maxsize=POOL_SIZE,
    )
    print(json.dumps({"event": "started"}), flush=True)  # noqa: T201  # the log


async def shutdown(ctx: dict[str, Any]) -> None:
    """Close the pool."""
    ctx["pool"].close()
    await ctx["pool"].wait_closed()


async def place_order(ctx: dict[str, Any], order: Order) -> dict[str, Any]:
    """Place it, again after a deadlock."""
    for attempt in range(MOST_ATTEMPTS):
        async with ctx["pool"].acquire() as connection, connection.cursor() as cursor:
            await connection.begin()
            try:
                outcome = await _place(cursor, order)
                await connection.commit()
            except OperationalError as error:
                await connection.rollback()
                if error.args[0] not in TRY_AGAIN:
                    raise
                print(json.dumps({"event": "conflict", "error": str(error)}), flush=True)  # noqa: T201  # the log
            except BaseException:
                await connection.rollback()
                raise
            else:
                return outcome
        await asyncio.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 5)))  # noqa: S311  # jitter
    raise RuntimeError(f"order {order['order_id']} met {MOST_ATTEMPTS} conflicts")


async def _place(cursor: aiomysql.Cursor, order: Order) -> dict[str, Any]:
    quantities: dict[int, int] = {}
    for line in sorted(order["lines"], key=lambda line: line["product_id"]):
        quantities[line["product_id"]] = quantities.get(line["product_id"], 0) + line["quantity"]
    await cursor.execute(
        "SELECT credit_limit_cents, balance_cents FROM customers WHERE customer_id = %s FOR UPDATE",
        (order["customer_id"],),
    )
    customer = await cursor.fetchone()
    await cursor.execute(
        "SELECT product_id, price_cents, available FROM stock WHERE product_id IN %s ORDER BY product_id FOR UPDATE",
        (list(quantities),),
    )
    stock = {product_id: (price, available) for product_id, price, available in await cursor.fetchall()}
    outcome = _decide(order, quantities, customer, stock)
    await _insert_order(cursor, order, quantities, outcome)
    if outcome["status"] == "placed":
        await _take(cursor, order, quantities, stock, outcome["total_cents"])
    await cursor.execute(
        "INSERT INTO outbox (order_id, kind, body, recorded_at) VALUES (%s, %s, %s, UTC_TIMESTAMP(6))",
        (
            UUID(order["order_id"]).bytes,
            f"order.{outcome['status']}",
            json.dumps(outcome | {"lines": order["lines"]}),
        ),
    )
    return outcome


def _decide(
    order: Order,
    quantities: dict[int, int],
    customer: tuple[int | None, int] | None,
    stock: dict[int, tuple[int, int]],
) -> dict[str, Any]:
    def rejected(reason: str, product_id: int | None = None) -> dict[str, Any]:
        return {
            "status": "rejected",
            "order_id": order["order_id"],
            "reason": reason,
            "product_id": product_id,
        }

    if customer is None:
        return rejected("unknown_customer")
    for product_id, quantity in quantities.items():
        if product_id not in stock:
            return rejected("unknown_product", product_id)
        if quantity > stock[product_id][1]:
            return rejected("insufficient_stock", product_id)
    total = sum(stock[product_id][0] * quantity for product_id, quantity in quantities.items())
    limit, balance = customer
    if limit is not None and balance + total > limit:
        return rejected("credit_limit")
    return {"status": "placed", "order_id": order["order_id"], "total_cents": total}


async def _insert_order(
    cursor: aiomysql.Cursor, order: Order, quantities: dict[int, int], outcome: dict[str, Any]
) -> None:
    content = json.dumps([order["customer_id"], list(quantities.items())])
    await cursor.execute(
        "INSERT INTO orders (order_id, customer_id, status, reason, rejected_product_id, total_cents, fingerprint,"
        " placed_at) VALUES (%s, %s, %s, %s, %s, %s, %s, UTC_TIMESTAMP(6))",
        (
            UUID(order["order_id"]).bytes,
            order["customer_id"],
            outcome["status"],
            outcome.get("reason"),
            outcome.get("product_id"),
            outcome.get("total_cents", 0),
            md5(content.encode(), usedforsecurity=False).digest(),
        ),
    )


async def _take(
    cursor: aiomysql.Cursor,
    order: Order,
    quantities: dict[int, int],
    stock: dict[int, tuple[int, int]],
    total_cents: int,
) -> None:
    order_id = UUID(order["order_id"]).bytes
    await cursor.executemany(  # one statement: aiomysql joins the rows
        "INSERT INTO order_lines (order_id, product_id, quantity, unit_price_cents) VALUES (%s, %s, %s, %s)",
        [
            (order_id, product_id, quantity, stock[product_id][0])
            for product_id, quantity in quantities.items()
        ],
    )
    await cursor.executemany(
        "UPDATE stock SET available = available - %s WHERE product_id = %s",
        [(quantity, product_id) for product_id, quantity in quantities.items()],
    )
    await cursor.execute(
        "UPDATE customers SET balance_cents = balance_cents + %s WHERE customer_id = %s",
        (total_cents, order["customer_id"]),
    )


class Settings:
    """What arq reads: its defaults, but for what makes it faster here."""

    functions = (place_order,)
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ["LOCKSTEP_REDIS_URL"])
    job_serializer = msgpack.packb
    job_deserializer = msgpack.unpackb
    max_jobs = 100
    poll_delay = 0.01
    log_results = False


asyncio.set_event_loop(uvloop.new_event_loop())  # arq runs on the current loop
