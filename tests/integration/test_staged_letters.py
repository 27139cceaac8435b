"""Staged orders that nobody can place: the dead letter keeps them, in the place of their rows."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from arq.connections import ArqRedis

from jobs.dead_letters import dead_letters_of
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Transaction
from tests.asking import Session, until
from tests.integration.conftest import MakeIntake, MakeWorker, running
from tests.integration.letters import POISONED, a_letter, mend, poison, waiting
from tests.integration.staging import insert, queued, result_of, stage_all, staged_count, until_none_is_staged
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue.dead_letters import DeadLetters
from worker.queue.replay import Replay
from worker.settings import Settings


@pytest.fixture
async def shop(database: Database, session: Session) -> None:
    await open_shop(database, {1: 1000})
    await poison(session)


async def until_buried(database: Database, order: PlaceOrder) -> None:
    await until(lambda: dead_letters_of(database, str(order.order_id)), "the order to be buried")


async def test_a_staged_order_that_is_buried_is_staged_no_more_and_placed_by_a_replay(
    shop: None,
    database: Database,
    session: Session,
    make_worker: MakeWorker,
    make_intake: MakeIntake,
    letters: DeadLetters,
    replay: Replay,
    redis: ArqRedis,
) -> None:
    bad, good = an_order({1: 1}, customer_id=POISONED), an_order({1: 1})
    await stage_all(session, [bad, good])
    async with running(make_worker(database, burst=False)):
        make_intake()
        assert (await result_of(redis, bad.order_id))["status"] == "dead"
        assert (await result_of(redis, good.order_id))["status"] == "placed"
        assert await staged_count(session) == 0
        await mend(session)
        (letter,) = await letters.of(str(bad.order_id))
        assert (await replay.run(letter))["status"] == "placed"
    assert await letters.count() == 0
    assert not await broken_invariants(database)


async def test_a_replay_of_what_is_still_no_order_keeps_the_letter(
    database: Database,
    session: Session,
    make_worker: MakeWorker,
    make_intake: MakeIntake,
    letters: DeadLetters,
    replay: Replay,
    redis: ArqRedis,
) -> None:
    """Nobody else has the request."""
    order_id = uuid4()
    await session.run(insert(an_order({1: 1}), under=order_id, request='{"customer_id": 0}'))
    make_intake()
    assert (await result_of(redis, order_id))["status"] == "invalid"
    (letter,) = await letters.of(str(order_id))
    async with running(make_worker(database, burst=False)):
        assert (await replay.run(letter))["status"] == "invalid"
    assert await letters.of(str(order_id)) == [letter]


async def test_a_staged_order_in_a_bulk_job_is_staged_no_more_when_it_is_buried(
    shop: None, database: Database, session: Session, make_worker: MakeWorker, client: OrderClient
) -> None:
    orders = [an_order({1: 1}, customer_id=number) for number in (1, POISONED, 2)]
    await stage_all(session, orders, at_once=True)
    _ = [receipt async for receipt in client.place_many(orders)]
    await make_worker(database).main()
    assert len(await dead_letters_of(database, str(orders[1].order_id))) == 1
    assert await staged_count(session) == 0


async def test_what_is_staged_with_other_content_is_not_what_the_letter_keeps(
    shop: None,
    database: Database,
    session: Session,
    make_worker: MakeWorker,
    make_intake: MakeIntake,
    client: OrderClient,
    redis: ArqRedis,
) -> None:
    """Nor is what is no order at all."""
    bad = [an_order({1: 1}, customer_id=POISONED) for _ in range(2)]
    other = an_order({1: 1}, order_id=bad[0].order_id)
    await session.run(insert(other))
    await session.run(insert(bad[1], request="{}"))
    for order in bad:
        await client.place(order)
    await make_worker(database).main()
    for order in bad:
        await until_buried(database, order)
    assert await staged_count(session) == 2
    make_intake()
    async with running(make_worker(database, burst=False)):
        await until_none_is_staged(session)
    assert await session.value("SELECT COUNT(*) FROM orders WHERE status = 'placed'") == 1
    assert len(await dead_letters_of(database, str(bad[1].order_id))) == 2


async def test_a_letter_that_waits_in_redis_ends_its_staged_order_when_it_moves(
    database: Database, settings: Settings, session: Session, redis: ArqRedis
) -> None:
    order = an_order({1: 1})
    await stage_all(session, [order])
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as outage:
        letters = DeadLetters(outage, redis)
        await letters.bury(a_letter(order))
        await letters.stop()
    assert await waiting(redis) == 1
    assert await staged_count(session) == 1, "nobody could tell the database"
    await DeadLetters(database, redis).move()
    assert await waiting(redis) == 0
    assert await staged_count(session) == 0


async def test_a_letter_that_is_dropped_before_it_moves_takes_its_staged_order_with_it(
    database: Database, session: Session, redis: ArqRedis, letters: DeadLetters, make_intake: MakeIntake
) -> None:
    dropped, other = an_order({1: 1}), an_order({1: 1})
    await stage_all(session, [dropped, other])
    await letters.remove(a_letter(dropped))
    make_intake()
    await until(lambda: queued(redis), "the other order")
    assert await queued(redis) == {str(other.order_id)}


async def test_to_bury_an_order_that_is_not_staged_locks_no_gap_where_others_stage(
    database: Database, session: Session, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one locked where a letter is removed."""
    letter = a_letter(an_order({1: 1}, order_id=UUID(int=200)))
    ids = iter(range(150, 200, 10))
    await stage_all(session, [an_order({1: 1}, order_id=UUID(int=number)) for number in (100, 300)])
    await session.run("SET innodb_lock_wait_timeout = 1")
    transact = database.transact

    async def beside(work: Callable[[Transaction], Awaitable[None]], **options: Any) -> None:
        async def with_a_neighbour(transaction: Transaction) -> None:
            await work(transaction)
            await stage_all(session, [an_order({1: 1}, order_id=UUID(int=next(ids)))])

        await transact(with_a_neighbour, **options)

    monkeypatch.setattr(database, "transact", beside)
    await letters.bury(letter)
    await letters.remove(letter)
    assert await staged_count(session) == 4
