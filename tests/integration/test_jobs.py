"""Each job against a real server, and the audit after it."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import pytest

from jobs.contract import Conflict, Outcome
from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.known_orders import KnownOrder, find_orders, find_placed_order
from jobs.orders.outcomes import (
    AlreadyCancelled,
    AlreadyShipped,
    Cancelled,
    NotFound,
    Placed,
    Rejected,
    Restocked,
    Shipped,
    UnknownProduct,
)
from jobs.orders.requests import Line, PlaceOrder, Restock
from jobs.orders.ship_order import ship_order
from tests.asking import Session, until_waiting
from tests.shop import PRICE_CENTS, an_order, broken_invariants, open_shop
from worker.catalogue import load_catalogue
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.files import open_source, read_json_lines
from worker.queue.idempotency import place_once, restock_once

pytestmark = pytest.mark.both_isolations
SAMPLES: Final = Path(__file__).resolve().parents[2] / "samples" / "journey"


def no_bad_line(*line: object) -> None:
    pytest.fail(f"a bad line: {line}")


async def place(database: Database, *orders: PlaceOrder) -> list[Placed | Rejected | Conflict]:
    return await place_once(database, orders, job="place_orders")


async def cancel(database: Database, order_id: UUID) -> Outcome:
    taken = await read_taken(database, order_id)
    return (
        await database.transact(partial(cancel_order, taken=taken), job="cancel")
        if isinstance(taken, Taken)
        else taken
    )


async def ship(database: Database, order_id: UUID) -> Outcome:
    order = await find_placed_order(database, order_id)
    return (
        await database.transact(partial(ship_order, order=order), job="ship")
        if isinstance(order, KnownOrder)
        else order
    )


async def test_an_order_takes_stock_and_is_owed(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5, 2: 5})
    order = an_order({1: 2, 2: 1})
    assert await place(database, order) == [Placed(order_id=order.order_id, total_cents=3 * PRICE_CENTS)]
    assert await session.run("SELECT product_id, available FROM stock ORDER BY product_id") == [
        {"product_id": 1, "available": 3},
        {"product_id": 2, "available": 4},
    ]
    assert await session.value("SELECT balance_cents FROM customers WHERE customer_id = 1") == 3 * PRICE_CENTS
    assert await session.run("SELECT kind FROM outbox") == [{"kind": "order.placed"}]
    assert not await broken_invariants(database)


async def test_an_order_is_placed_at_the_time_it_says_or_now(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    then = datetime(2017, 1, 1, 11, 53, 26, 123456, tzinfo=UTC)
    dated = an_order({1: 1}).model_copy(update={"placed_at": then})
    await place(database, dated)
    assert await session.value("SELECT placed_at FROM orders") == then.replace(tzinfo=None)
    await place(database, an_order({1: 1}))
    age = await session.value("SELECT MIN(TIMESTAMPDIFF(SECOND, placed_at, UTC_TIMESTAMP(6))) FROM orders")
    assert 0 <= age <= 60


@pytest.mark.parametrize(
    ("lines", "customer_id", "reason", "product_id"),
    [
        ({1: 1}, 99, "unknown_customer", None),
        ({1: 1, 77: 1}, 1, "unknown_product", 77),
        ({1: 1, 2: 6}, 1, "insufficient_stock", 2),
        ({1: 3}, 2, "credit_limit", None),
    ],
)
async def test_a_rejection_takes_nothing_and_is_kept(
    database: Database, lines: dict[int, int], customer_id: int, reason: str, product_id: int | None
) -> None:
    await open_shop(database, {1: 5, 2: 5}, limits={2: 2 * PRICE_CENTS})
    order = an_order(lines, customer_id)
    (rejected,) = await place(database, order)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.product_id) == (reason, product_id)
    await restock_once(database, Restock(restock_id=uuid4(), product_id=2, quantity=100))
    assert await place(database, order) == [rejected], "the same id keeps its outcome"
    assert not await broken_invariants(database)


async def test_a_batch_is_decided_in_the_order_it_came(database: Database) -> None:
    await open_shop(database, {1: 5})
    orders = [an_order({1: 3}), an_order({1: 3}), an_order({1: 2})]
    assert [outcome.status for outcome in await place(database, *orders)] == ["placed", "rejected", "placed"]
    assert not await broken_invariants(database)


async def test_lines_of_the_same_product_are_one(database: Database) -> None:
    await open_shop(database, {1: 5})
    line = Line(product_id=1, quantity=3)
    order = an_order({1: 1}).model_copy(update={"lines": (line, line)})
    (outcome,) = await place(database, order)
    assert outcome == Rejected(order_id=order.order_id, reason="insufficient_stock", product_id=1)


async def test_real_baskets_in_batches_of_500(database: Database) -> None:
    await load_catalogue(database, SAMPLES, progress=lambda _: None, report=no_bad_line)
    with open_source(str(SAMPLES / "orders.jsonl.gz")) as source:
        orders = list(read_json_lines(source, PlaceOrder, no_bad_line))
    batches = [orders[start : start + 500] for start in range(0, len(orders), 500)]
    outcomes = [outcome for batch in batches for outcome in await place(database, *batch)]
    assert [outcome.status for outcome in outcomes].count("placed") == 1853
    assert not await broken_invariants(database)


async def test_the_same_order_again_has_the_first_outcome(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    first = await place(database, order)
    await session.run("UPDATE orders SET placed_at = placed_at - INTERVAL 1 HOUR")
    await cancel(database, order.order_id)
    assert await place(database, order) == first
    assert await session.value("SELECT COUNT(*) FROM orders") == 1
    assert not await broken_invariants(database)


async def test_the_same_order_twice_in_a_batch_is_placed_once(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})
    order, other = an_order({1: 2}), an_order({1: 1})
    outcomes = await place(database, order, other, order)
    assert [outcome.status for outcome in outcomes] == ["placed", "placed", "placed"]
    assert await session.value("SELECT available FROM stock") == 2
    assert not await broken_invariants(database)


async def test_other_content_under_the_same_id_changes_nothing(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5, 2: 5})
    order = an_order({1: 2})
    changed = an_order({1: 3}, order_id=order.order_id)
    twice_in_one_batch = await place(database, order, changed)
    assert twice_in_one_batch[1] == Conflict(id=order.order_id)
    later = await place(database, changed, an_order({2: 1}))
    assert [outcome.status for outcome in later] == ["conflict", "placed"], "its neighbour is not touched"
    assert await session.value("SELECT available FROM stock WHERE product_id = 1") == 3
    assert not await broken_invariants(database)


async def test_the_same_order_at_once_on_two_connections(
    database: Database, session: Session, other_session: Session
) -> None:
    """Both are inside their transactions before either can go on."""
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    await session.run("BEGIN")
    await session.run("SELECT * FROM customers WHERE customer_id = 1 FOR UPDATE")
    tasks = [asyncio.create_task(place(database, order)) for _ in range(2)]
    await until_waiting(other_session, 2)
    await session.run("COMMIT")
    first, second = await asyncio.gather(*tasks)
    assert first == second == [Placed(order_id=order.order_id, total_cents=2 * PRICE_CENTS)]
    assert await other_session.value("SELECT available FROM stock") == 3
    assert not await broken_invariants(database)


async def test_batches_that_share_orders_in_opposite_order(
    database: Database, session: Session, other_session: Session
) -> None:
    await open_shop(database, {1: 50})
    orders = [an_order({1: 1}, customer_id) for customer_id in range(1, 9)]
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    tasks = [asyncio.create_task(place(database, *batch)) for batch in (orders, orders[::-1])]
    await until_waiting(other_session, 2)
    await session.run("COMMIT")
    there, back = await asyncio.gather(*tasks)
    assert there == back[::-1]
    assert await other_session.value("SELECT available FROM stock") == 42
    assert not await broken_invariants(database)


async def test_two_real_jobs_survive_a_deadlock_that_a_third_session_makes(
    database: Database, session: Session, other_session: Session
) -> None:
    """The jobs keep the lock order; who does not, and is heavier, makes one of them the victim."""
    await open_shop(database, dict.fromkeys(range(1, 200), 5))
    order, other = an_order({1: 1, 2: 1}, customer_id=1), an_order({1: 1, 2: 1}, customer_id=2)
    await session.run("BEGIN")
    await session.run("UPDATE stock SET price_cents = price_cents + 1 WHERE product_id >= 2")
    tasks = [asyncio.create_task(place(database, one)) for one in (order, other)]
    await until_waiting(other_session, 2)
    await session.run("UPDATE stock SET price_cents = price_cents + 1 WHERE product_id = 1")
    await session.run("COMMIT")
    outcomes = [outcome for (outcome,) in await asyncio.gather(*tasks)]
    assert [outcome.status for outcome in outcomes] == ["placed", "placed"]
    assert not await broken_invariants(database)


async def test_cancelling_gives_everything_back_once(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5, 2: 5})
    order = an_order({1: 2, 2: 1})
    await place(database, order)
    for _ in range(2):
        assert await cancel(database, order.order_id) == Cancelled(order_id=order.order_id)
    assert await session.run("SELECT DISTINCT available FROM stock") == [{"available": 5}]
    assert await session.value("SELECT SUM(balance_cents) FROM customers") == 0
    assert await session.value("SELECT COUNT(*) FROM outbox WHERE kind = 'order.cancelled'") == 1
    assert not await broken_invariants(database)


async def test_a_shipped_order_cannot_be_cancelled(database: Database) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    await place(database, order)
    for _ in range(2):
        assert await ship(database, order.order_id) == Shipped(order_id=order.order_id)
    assert await cancel(database, order.order_id) == AlreadyShipped(order_id=order.order_id)
    assert (await find_orders(database, [order.order_id]))[order.order_id].status == "shipped"
    assert not await broken_invariants(database)


async def test_a_cancelled_order_cannot_be_shipped(database: Database) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    await place(database, order)
    await cancel(database, order.order_id)
    assert await ship(database, order.order_id) == AlreadyCancelled(order_id=order.order_id)


async def test_an_order_that_was_never_placed_can_be_neither_cancelled_nor_shipped(
    database: Database,
) -> None:
    await open_shop(database, {1: 5})
    unknown = uuid4()
    assert await cancel(database, unknown) == NotFound(order_id=unknown)
    assert await ship(database, unknown) == NotFound(order_id=unknown)
    rejected = an_order({1: 6})
    (outcome,) = await place(database, rejected)
    assert await cancel(database, rejected.order_id) == outcome
    assert await ship(database, rejected.order_id) == outcome


async def test_cancel_and_ship_at_once_agree(
    database: Database, session: Session, other_session: Session
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    await place(database, order)
    await session.run("BEGIN")
    await session.run("SELECT * FROM orders FOR UPDATE")
    tasks = [asyncio.create_task(job(database, order.order_id)) for job in (cancel, ship)]
    await until_waiting(other_session, 2)
    await session.run("COMMIT")
    statuses = [outcome.status for outcome in await asyncio.gather(*tasks)]
    assert statuses in (["cancelled", "already_cancelled"], ["already_shipped", "shipped"])
    assert not await broken_invariants(database)


async def test_a_restock_counts_once(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5, 2: 5})
    request = Restock(restock_id=uuid4(), product_id=1, quantity=10)
    for _ in range(2):
        assert await restock_once(database, request) == Restocked(**request.model_dump())
    changed = request.model_copy(update={"product_id": 2})
    assert await restock_once(database, changed) == Conflict(id=request.restock_id)
    assert await session.value("SELECT available FROM stock WHERE product_id = 1") == 15
    assert not await broken_invariants(database)


async def test_an_unknown_product_is_not_restocked(database: Database) -> None:
    await open_shop(database, {1: 5})
    request = Restock(restock_id=uuid4(), product_id=77, quantity=10)
    unknown = UnknownProduct(restock_id=request.restock_id, product_id=77)
    assert await restock_once(database, request) == unknown
    assert not await broken_invariants(database)


async def test_loading_a_catalogue_again_changes_nothing(
    database: Database, session: Session, tmp_path: Path
) -> None:
    (tmp_path / "products.csv").write_text(
        "product_id,name,price_cents,available\n1,Tea,250,5\n2,Milk,99,0\n"
    )
    (tmp_path / "customers.csv").write_text(
        "customer_id,name,credit_limit_cents\n1,Ada,\n2,Grace,x\n3,Edsger,100\n"
    )
    bad: list[tuple[str, int, str]] = []

    async def load() -> list[tuple[str, int, int, int]]:
        parts = await load_catalogue(
            database, tmp_path, progress=lambda _: None, report=lambda *line: bad.append(line)
        )
        return [(part.kind, part.new, part.known, part.bad) for part in parts]

    assert await load() == [("products", 2, 0, 0), ("customers", 2, 0, 1)]
    assert bad[0][1] == 3
    assert "credit_limit_cents" in bad[0][2]
    await place(database, an_order({1: 2}))
    assert await load() == [("products", 0, 2, 0), ("customers", 0, 2, 1)]
    assert await session.value("SELECT available FROM stock WHERE product_id = 1") == 3
    assert not await broken_invariants(database)


async def test_a_folder_without_a_catalogue_is_named(database: Database, tmp_path: Path) -> None:
    with pytest.raises(LockstepError, match=r"has no products\.csv"):
        await load_catalogue(database, tmp_path, progress=lambda _: None, report=no_bad_line)
