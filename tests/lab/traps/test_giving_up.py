"""Traps of a queue that gives up jobs which have done nothing wrong."""

import asyncio
import signal
from typing import Any

from arq.connections import ArqRedis
from arq.constants import retry_key_prefix
from arq.worker import Retry, func

from jobs.dead_letters import dead_letters_of
from tests.asking import PATIENCE_SECONDS, Session, open_session, until_waiting
from tests.conftest import MakeClient
from tests.lab.traps.arq_workers import bare_queue, bare_worker, our_worker, result_of, run_dry, working
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue.dead_letters import DeadLetters
from worker.queue.replay import Replay
from worker.settings import Settings

NOBODY = "mysql://nobody:x@127.0.0.1:1/lockstep"


async def test_an_ordinary_exception_wrong_it_is_the_end_of_the_job(settings: Settings) -> None:
    """R08. arq runs only Retry again: a server that restarts costs every order of that moment."""
    tries: list[int] = []

    async def place(ctx: dict[str, Any]) -> None:
        tries.append(ctx["job_try"])
        async with open_session(NOBODY):
            pass

    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("place", _job_id="order 1")
        await run_dry(bare_worker(queue, [func(place, name="place")]))
        result = await result_of(queue, "order 1")
        assert not result.success
        assert "Can't connect to MySQL server" in str(result.result)
        assert await queue.zcard("arq:queue") == 0
    assert tries == [1]


async def test_an_ordinary_exception_right_the_job_is_tried_again(
    redis: ArqRedis, settings: Settings, database: Database, make_client: MakeClient
) -> None:
    """R08. Every failure of the database becomes a Retry."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    receipt = await make_client(100).place(order)
    async with Database(settings.model_copy(update={"mysql_url": NOBODY})) as outage:
        worker = our_worker(redis, outage, settings, max_burst_jobs=1)
        await run_dry(worker)
    assert (worker.jobs_retried, worker.jobs_failed) == (1, 0)
    await redis.zadd("arq:queue", {str(order.order_id): 1})  # now, not later
    await run_dry(our_worker(redis, database, settings))
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"


async def test_retries_exhausted_wrong_the_job_vanishes(settings: Settings) -> None:
    """R09. Five tries, and the only copy of the order is deleted."""
    tries: list[int] = []

    async def place(ctx: dict[str, Any]) -> None:
        tries.append(ctx["job_try"])
        raise Retry(defer=0)

    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("place", _job_id="order 1")
        await run_dry(bare_worker(queue, [func(place, name="place")]))
        result = await result_of(queue, "order 1")
        assert str(result.result) == "max 5 retries exceeded"
        assert await queue.keys("arq:job:*") == []
        assert await queue.zcard("arq:queue") == 0
    assert tries == [1, 2, 3, 4, 5]


async def test_retries_exhausted_right_an_outage_may_take_as_many_tries_as_it_likes(
    redis: ArqRedis, settings: Settings, database: Database, make_client: MakeClient
) -> None:
    """R09. There is no last try."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    receipt = await make_client(100).place(order)
    await redis.set(retry_key_prefix + str(order.order_id), 1_000_000)
    await run_dry(our_worker(redis, database, settings))
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert (await result_of(redis, str(order.order_id))).job_try == 1_000_001


async def test_a_bug_wrong_the_job_is_retried_until_it_is_gone(settings: Settings) -> None:
    """R09. No try of the five can succeed, and then nobody has the order any more."""
    tries: list[int] = []

    async def place(ctx: dict[str, Any], order: dict[str, Any]) -> int:
        tries.append(ctx["job_try"])
        try:
            return int(order["quantity"])
        except KeyError as error:
            raise Retry from error

    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("place", {"amount": 1}, _job_id="order 1")
        await run_dry(bare_worker(queue, [func(place, name="place")]))
        assert str((await result_of(queue, "order 1")).result) == "max 5 retries exceeded"
        assert await queue.keys("arq:job:*") == []
    assert tries == [1, 2, 3, 4, 5]


async def test_a_bug_right_the_job_is_a_dead_letter_at_once_and_has_its_outcome_when_replayed(
    redis: ArqRedis, settings: Settings, database: Database, session: Session, make_client: MakeClient
) -> None:
    """R09. No number that the column can hold comes of it, now or in an hour: what helps is a person."""
    await open_shop(database, {1: 5})
    await session.run("UPDATE customers SET balance_cents = 18446744073709551615 WHERE customer_id = 1")
    order = an_order({1: 1})
    receipt = await make_client(100).place(order)
    worker = our_worker(redis, database, settings)
    await run_dry(worker)
    assert (worker.jobs_retried, worker.jobs_complete) == (0, 1)
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "dead"
    (letter,) = await dead_letters_of(database, str(order.order_id))
    assert "move_balances: 1690" in letter.error
    await session.run("UPDATE customers SET balance_cents = 0 WHERE customer_id = 1")
    replay = Replay(DeadLetters(database, redis), redis)
    async with working(our_worker(redis, database, settings)):
        await replay.run(letter)
    await replay.stop()
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert not await dead_letters_of(database, str(order.order_id))
    assert not await broken_invariants(database)


async def test_stopping_a_worker_wrong_five_deployments_lose_the_order(settings: Settings) -> None:
    """R15. SIGTERM cancels at once, and each time it has cost a try."""
    started: asyncio.Queue[int] = asyncio.Queue()

    async def place(ctx: dict[str, Any]) -> None:
        await started.put(ctx["job_try"])
        await asyncio.Event().wait()

    job = [func(place, name="place")]
    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("place", _job_id="order 1")
        for deployment in range(1, 6):
            async with working(bare_worker(queue, job)):
                assert await started.get() == deployment
        await run_dry(bare_worker(queue, job))
        assert str((await result_of(queue, "order 1")).result) == "max 5 retries exceeded"
        assert await queue.keys("arq:job:*") == []
    assert started.empty(), "nobody ever ran it to its end"


async def test_stopping_a_worker_right_what_it_has_begun_is_finished(
    redis: ArqRedis,
    settings: Settings,
    database: Database,
    session: Session,
    other_session: Session,
    make_client: MakeClient,
) -> None:
    """R15. The worker takes no more jobs, and waits for those that it runs."""
    await open_shop(database, {1: 5})
    client = make_client(100)
    await session.run("BEGIN")
    await session.run("SELECT available FROM stock FOR UPDATE")
    first = an_order({1: 1})
    await client.place(first)
    worker = our_worker(redis, database, settings, max_jobs=1)  # it is busy with the first order
    assert worker._job_completion_wait == settings.stop_seconds
    assert Settings.model_fields["stop_seconds"].default > Settings.model_fields["job_seconds"].default
    async with working(worker) as loop:
        await until_waiting(other_session, 1)
        worker.handle_sig_wait_for_completion(signal.SIGTERM)
        late = await client.place(an_order({1: 1}))
        await session.run("COMMIT")
        await asyncio.wait([loop], timeout=PATIENCE_SECONDS)
        assert loop.cancelled()
    assert (await result_of(redis, str(first.order_id))).job_try == 1
    assert await redis.keys("arq:job:*") == [f"arq:job:{late.message.job_id}".encode()]
    assert await session.value("SELECT COUNT(*) FROM orders") == 1
    assert not await broken_invariants(database)
