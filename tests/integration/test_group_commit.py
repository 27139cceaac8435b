"""Orders of concurrent jobs in one transaction, on a real server: what they share, and what they never share."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from itertools import chain
from typing import Any
from uuid import UUID

import pytest
import structlog
from arq.connections import ArqRedis
from arq.constants import retry_key_prefix

from jobs.contract import Conflict
from jobs.orders.outcomes import Placed, PlaceOutcome, Rejected
from jobs.orders.requests import PlaceOrder
from tests.asking import PATIENCE_SECONDS, Session, until_waiting
from tests.integration.conftest import MakeWorker, running
from tests.integration.grouped_orders import CountingDatabase, Orders, Outcomes
from tests.lab.traps.proxy import Loss, Proxy
from tests.shop import PRICE_CENTS, an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.retry import DatabaseError, Kind
from worker.database.transactions import Database
from worker.queue import wire
from worker.settings import Settings

pytestmark = pytest.mark.both_isolations


@pytest.fixture
async def counting(settings: Settings) -> AsyncIterator[CountingDatabase]:
    async with CountingDatabase(settings) as opened:
        yield opened


@pytest.fixture
async def group_commit(counting: CountingDatabase) -> AsyncIterator[Orders]:
    opened = Orders(counting)
    yield opened
    await opened.close()


def start(place: Coroutine[Any, Any, Outcomes]) -> asyncio.Task[Outcomes]:
    return asyncio.create_task(place)


def statuses(outcomes: Outcomes) -> list[str]:
    """Of outcomes; fail if one is an error."""
    return [outcome.status for outcome in map(an_outcome, outcomes)]


def an_outcome(result: PlaceOutcome | Exception) -> PlaceOutcome:
    assert not isinstance(result, Exception)
    return result


def placed(orders: Iterable[PlaceOrder]) -> list[PlaceOutcome]:
    return [
        Placed(order_id=order.order_id, total_cents=PRICE_CENTS * sum(order.quantities.values()))
        for order in orders
    ]


async def hold(session: Session, row: str) -> None:
    """Until the session says COMMIT."""
    await session.run("BEGIN")
    await session.run(f"SELECT * FROM {row} FOR UPDATE")


async def known_orders(session: Session) -> set[UUID]:
    return {UUID(row["id"]) for row in await session.run("SELECT HEX(order_id) AS id FROM orders")}


async def test_what_comes_while_a_transaction_waits_shares_the_next_one(
    group_commit: Orders, counting: CountingDatabase, session: Session, other_session: Session
) -> None:
    await open_shop(counting, {1: 100, 2: 100})
    await hold(session, "stock WHERE product_id = 1")
    tasks = [start(group_commit.place([an_order({1: 1})]))]
    await until_waiting(other_session, 1)
    tasks += [start(group_commit.place([an_order({2: 1}, customer_id=9)])) for _ in range(30)]
    await asyncio.sleep(0)
    await session.run("COMMIT")
    assert {status for outcomes in await asyncio.gather(*tasks) for status in statuses(outcomes)} == {
        "placed"
    }
    assert counting.sizes == [1, 30]
    assert not await broken_invariants(counting)


async def test_two_hundred_orders_of_one_moment_are_one_transaction_and_the_last_ones_find_nothing_left(
    group_commit: Orders, counting: CountingDatabase
) -> None:
    await open_shop(counting, {1: 150})
    results = await asyncio.gather(*(group_commit.place([an_order({1: 1})]) for _ in range(200)))
    assert [status for outcomes in results for status in statuses(outcomes)] == ["placed"] * 150 + [
        "rejected"
    ] * 50
    assert counting.sizes == [200]
    assert not await broken_invariants(counting)


async def test_what_was_placed_first_is_said_also_beside_other_content_that_comes_before_it(
    group_commit: Orders, database: Database
) -> None:
    await open_shop(database, {1: 100})
    known = an_order({1: 1})
    other = an_order({1: 9}, order_id=known.order_id)
    assert await group_commit.place([known]) == placed([known])
    both = [[other], [known], [other, known]]
    assert await asyncio.gather(*map(group_commit.place, both)) == [
        [Conflict(id=known.order_id)],
        placed([known]),
        [Conflict(id=known.order_id), *placed([known])],
    ]


async def test_an_id_that_comes_more_than_once_has_one_order_and_an_outcome_each_time(
    group_commit: Orders, counting: CountingDatabase, session: Session
) -> None:
    """In one job, in jobs that share a transaction, and later; with the same content and with other."""
    await open_shop(counting, {1: 100})
    first, second, third = (an_order({1: number}) for number in (1, 2, 3))
    other = an_order({1: 9}, order_id=first.order_id)
    conflict = Conflict(id=first.order_id)
    jobs = [[second, first, second], [other, third], [first, other]]
    expected = [placed(jobs[0]), [conflict, *placed([third])], [*placed([first]), conflict]]
    assert await asyncio.gather(*map(group_commit.place, jobs)) == expected
    assert counting.sizes == [3, 1], "ids; other content is for the database to judge"
    assert await asyncio.gather(*map(group_commit.place, jobs)) == expected
    assert await asyncio.gather(*map(group_commit.place, jobs)) == expected
    assert await session.value("SELECT SUM(quantity) FROM order_lines") == 6
    assert not await broken_invariants(counting)


async def test_an_order_that_the_server_refuses_takes_no_neighbour_along(
    group_commit: Orders, counting: CountingDatabase, session: Session
) -> None:
    """No balance can hold what customer 9 would owe."""
    await open_shop(counting, {1: 100})
    await session.run("UPDATE customers SET balance_cents = 18446744073709551615 WHERE customer_id = 9")
    bad, bulk, alone = an_order({1: 1}, customer_id=9), [an_order({1: 1}) for _ in range(3)], an_order({1: 2})
    jobs = [[bulk[0], bad, *bulk[1:]], [alone], [bad]]
    mixed, fine, (refused_alone,) = await asyncio.gather(*map(group_commit.place, jobs))
    assert fine == placed([alone])
    assert [mixed[0], *mixed[2:]] == placed(bulk)
    for error in (mixed[1], refused_alone):
        assert isinstance(error, DatabaseError)
        assert error.kind is Kind.BUG
        assert error.statement == "move_balances"
    assert await known_orders(session) == {order.order_id for order in [*bulk, alone]}
    await session.run("UPDATE customers SET balance_cents = 0 WHERE customer_id = 9")
    assert await group_commit.place(jobs[0]) == placed(jobs[0]), "the next try, with the cause gone"
    assert not await broken_invariants(counting)


async def test_a_row_that_another_session_holds_delays_the_neighbours_once_and_fails_none(
    database: Database,
    session: Session,
    redis: ArqRedis,
    make_worker: MakeWorker,
    settings: Settings,
) -> None:
    """By a real worker: a neighbour's outcome stands there after its first try, and before the row is free.

    No two neighbours want the same row: where the machine pauses one would wait for the other for too long, too.
    """
    await open_shop(database, dict.fromkeys(range(1, 30), 100))
    held = [an_order({1: 1}, customer_id=2) for _ in range(3)]
    neighbours = [an_order({number: 1}, customer_id=number) for number in range(3, 10)]
    await hold(session, "customers WHERE customer_id = 2")
    async with (
        Database(settings.model_copy(update={"lock_wait_seconds": 1})) as hasty,
        OrderClient.connect(settings.redis_url) as client,
    ):
        receipts = [receipt async for receipt in client.place_many([*held, *neighbours], chunk=1)]
        async with running(make_worker(hasty, burst=False, batch_seconds=1)):
            for receipt in receipts[len(held) :]:
                assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
            assert await redis.zcard("arq:queue") == len(held), "the row is held still"
            late = await (await client.place(an_order({29: 1}))).outcome(timeout=PATIENCE_SECONDS)
            assert late.status == "placed", "what comes later shares nothing with them"
            await session.run("COMMIT")
            for receipt in receipts[: len(held)]:
                assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    tries = await wire.read_timings(redis, [str(order.order_id) for order in neighbours])
    assert {timing.job_try for timing in tries} == {1}
    assert not await broken_invariants(database)


async def test_later_tries_share_transactions_with_each_other_alone(
    counting: CountingDatabase, redis: ArqRedis, make_worker: MakeWorker, settings: Settings
) -> None:
    await open_shop(counting, {1: 100})
    orders = [an_order({1: 1}) for _ in range(6)]
    async with OrderClient.connect(settings.redis_url) as client:
        receipts = [receipt async for receipt in client.place_many(orders, chunk=1)]
        for order in orders[:2]:
            await redis.set(f"{retry_key_prefix}{order.order_id}", 1)
        await make_worker(counting).main()
        assert {(await receipt.outcome(timeout=PATIENCE_SECONDS)).status for receipt in receipts} == {
            "placed"
        }
    assert sorted(counting.sizes) == [2, 4]


async def test_of_orders_that_meet_a_held_row_only_those_that_want_it_wait(
    settings: Settings, session: Session
) -> None:
    """A row of the customers and one of the stock are held; an unknown product is held by none."""
    async with CountingDatabase(settings.model_copy(update={"lock_wait_seconds": 1})) as hasty:
        await open_shop(hasty, {1: 100, 2: 100})
        group_commit = Orders(hasty, batch_seconds=1)
        await hold(session, "customers WHERE customer_id = 2")
        await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
        held = [an_order({1: 1}, customer_id=2), an_order({1: 1, 2: 1})]
        unknown = an_order({1: 1, 77: 1})
        free = [an_order({1: 1}, customer_id=number) for number in range(3, 8)]
        jobs = [[order] for order in [held[0], *free[:2], held[1], *free[2:], unknown]]
        results = await asyncio.gather(*map(group_commit.place, jobs))
        for order, (result,) in zip((order for (order,) in jobs), results, strict=True):
            if order is unknown:
                assert isinstance(result, Rejected)
            elif order in free:
                assert [result] == placed([order])
            else:
                assert isinstance(result, DatabaseError)
                assert result.kind is Kind.CONFLICT
        assert hasty.sizes == [8, 6]
        await session.run("COMMIT")
        later = await asyncio.gather(*map(group_commit.place, jobs))
        assert [status for outcomes in later for status in statuses(outcomes)] == ["placed"] * 7 + [
            "rejected"
        ]
        assert not await broken_invariants(hasty)


async def test_an_outage_is_raised_to_every_job_and_the_next_try_gives_each_order_its_outcome(
    settings: Settings, counting: CountingDatabase, group_commit: Orders
) -> None:
    await open_shop(counting, {1: 100})
    jobs = [[an_order({1: 1}) for _ in range(size)] for size in (1, 5, 1)]
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as lost:
        out = Orders(lost)
        for error in chain.from_iterable(await asyncio.gather(*map(out.place, jobs))):
            assert isinstance(error, DatabaseError)
            assert error.kind is Kind.OUTAGE
    assert await asyncio.gather(*map(group_commit.place, jobs)) == list(map(placed, jobs))
    assert counting.sizes == [7]
    assert not await broken_invariants(counting)


@pytest.mark.parametrize("loss", [Loss.CUT, None], ids=["after its commit", "before its commit"])
async def test_a_connection_lost_in_a_shared_transaction_costs_no_order_and_doubles_none(
    loss: Loss | None, settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    await open_shop(database, {1: 100})
    jobs = [[an_order({1: 1}) for _ in range(size)] for size in (1, 5, 1)]
    async with (
        Proxy.before(settings.mysql_url) as proxy,
        Database(settings.model_copy(update={"mysql_url": proxy.mysql_url})) as behind,
    ):
        group_commit = Orders(behind)
        proxy.loss = loss
        await hold(session, "stock")
        tasks = [start(group_commit.place(job)) for job in jobs]
        (waiting,) = await until_waiting(other_session, 1)
        if loss is None:
            await other_session.run(f"KILL {waiting}")
        await session.run("COMMIT")
        assert await asyncio.gather(*tasks) == list(map(placed, jobs))
        assert proxy.committed.is_set() == (loss is not None)
        await group_commit.close()
    assert await session.value("SELECT available FROM stock") == 93
    assert not await broken_invariants(database)


async def test_a_job_cancelled_before_its_batch_starts_leaves_no_trace(
    group_commit: Orders, counting: CountingDatabase, session: Session, other_session: Session
) -> None:
    await open_shop(counting, {1: 100})
    await hold(session, "stock")
    tasks = [start(group_commit.place([an_order({1: 1})]))]
    await until_waiting(other_session, 1)
    cancelled, waiting = an_order({1: 1}), an_order({1: 1})
    gone = start(group_commit.place([cancelled]))
    tasks.append(start(group_commit.place([waiting])))
    await asyncio.sleep(0)
    gone.cancel()
    await session.run("COMMIT")
    await asyncio.gather(*tasks)
    known = await known_orders(session)
    assert waiting.order_id in known
    assert cancelled.order_id not in known


async def test_a_job_cancelled_while_its_transaction_runs_has_its_outcome_all_the_same(
    group_commit: Orders, counting: CountingDatabase, session: Session, other_session: Session
) -> None:
    await open_shop(counting, {1: 100})
    await hold(session, "stock")
    cancelled, neighbour = an_order({1: 1}), an_order({1: 1})
    gone, stays = start(group_commit.place([cancelled])), start(group_commit.place([neighbour]))
    await until_waiting(other_session, 1)
    gone.cancel()
    await session.run("COMMIT")
    assert await gone == placed([cancelled])
    assert await stays == placed([neighbour])
    assert await known_orders(session) == {cancelled.order_id, neighbour.order_id}
    assert await group_commit.place([cancelled]) == placed([cancelled])
    assert await session.value("SELECT available FROM stock") == 98
    assert not await broken_invariants(counting)


async def test_two_workers_with_the_same_orders_in_other_chunks_never_deadlock(
    settings: Settings, database: Database
) -> None:
    """Customers who may owe little and products that run out: what is refused to the one is to the other."""
    await open_shop(database, dict.fromkeys(range(1, 21), 60), limits={3: 2000})
    orders = [
        an_order({(number * step) % 20 + 1: 1 for step in (1, 7, 11)}, customer_id=number % 9 + 1)
        for number in range(300)
    ]

    async def place_in_chunks(group_commit: Orders, size: int) -> dict[UUID, PlaceOutcome]:
        chunks = [orders[at : at + size] for at in range(0, len(orders), size)]
        pages = await asyncio.gather(*map(group_commit.place, chunks))
        return dict(
            zip(
                [order.order_id for order in orders],
                [an_outcome(each) for page in pages for each in page],
                strict=True,
            )
        )

    async with Database(settings) as one, Database(settings) as another:
        with structlog.testing.capture_logs() as logs:
            outcomes = await asyncio.gather(
                place_in_chunks(Orders(one), 7),
                place_in_chunks(Orders(one), 1),
                place_in_chunks(Orders(another), 50),
            )
    assert [log for log in logs if log["event"] in {"conflict", "deadlock"}] == []
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert {outcome.status for outcome in outcomes[0].values()} == {"placed", "rejected"}
    assert not await broken_invariants(database)


async def test_the_end_of_a_worker_waits_for_the_batches_that_run(
    group_commit: Orders, counting: CountingDatabase, session: Session, other_session: Session
) -> None:
    await open_shop(counting, {1: 100})
    await hold(session, "stock")
    order = an_order({1: 1})
    gone = start(group_commit.place([order]))
    await until_waiting(other_session, 1)
    gone.cancel()
    closing = asyncio.create_task(group_commit.close())
    await asyncio.sleep(0)
    assert not closing.done()
    await session.run("COMMIT")
    await closing
    assert await gone == placed([order])
    assert await known_orders(session) == {order.order_id}
