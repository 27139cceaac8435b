"""Workers that die at the worst moments, and what the others make of it."""

import asyncio
import json
import signal

from arq.connections import ArqRedis

from jobs.orders.requests import PlaceOrder
from tests.asking import PATIENCE_SECONDS, PATIENT, Session, until, until_gone, until_waiting
from tests.end_to_end.conftest import StartWorker
from tests.shop import an_order, broken_invariants, open_shop
from tests.wire_proxy import Door, Fault, MySQL, stand
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue.claims import LEASE_SECONDS
from worker.settings import Settings

PROGRESS = "arq:in-progress:"
HEALTH = "arq:queue:health-check"

WAITING_EVENTS = {"events are late", "events wait"}


async def end_progress(redis: ArqRedis, order: PlaceOrder) -> None:
    """Let the lease of a dead worker be over now, instead of in some seconds."""
    key = f"{PROGRESS}{order.order_id}"
    left_ms = await redis.pttl(key)
    assert 0 < left_ms <= 1000 * LEASE_SECONDS, "a worker had the order in hand, and not for longer than this"
    await redis.pexpire(key, 1)


async def test_a_worker_killed_inside_a_transaction_leaves_nothing_behind(
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    session: Session,
    other_session: Session,
    start_worker: StartWorker,
) -> None:
    await open_shop(database, {1: 5, 2: 5})
    order, next_order = an_order({1: 1, 2: 1}), an_order({1: 1})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
    first = start_worker(**PATIENT | {"lock_wait_seconds": 2})  # then the server sees that the client is dead
    async with OrderClient.connect(settings.redis_url) as client:
        receipt = await client.place(order)
        (dead,) = await until_waiting(other_session, 1)
        first.kill()
        await until_gone(other_session, dead)
        assert await other_session.value("SELECT COUNT(*) FROM orders") == 0
        await session.run("COMMIT")
        start_worker(**PATIENT)
        next_receipt = await client.place(next_order)
        assert (await next_receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
        assert await session.value("SELECT COUNT(*) FROM orders") == 1, "nobody else may have the first yet"
        await end_progress(redis, order)
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await session.value("SELECT SUM(available) FROM stock") == 7
    assert not await broken_invariants(database)


async def test_a_worker_killed_between_commit_and_acknowledgement_places_no_order_twice(
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    session: Session,
    other_session: Session,
    start_worker: StartWorker,
) -> None:
    """Redis takes no writes meanwhile, so the worker cannot say that it is done."""
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    first = start_worker(**PATIENT)
    async with OrderClient.connect(settings.redis_url) as client:
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock FOR UPDATE")
        receipt = await client.place(order)
        await until_waiting(other_session, 1)  # to have claimed the order is not enough: arq then reads it
        await redis.client_pause(60_000, all=False)
        await session.run("COMMIT")
        await until(lambda: session.value("SELECT COUNT(*) FROM orders"), "the order to be committed")
        first.kill()
        await redis.client_unpause()
        await end_progress(redis, order)
        start_worker(**PATIENT)
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await session.value("SELECT available FROM stock") == 3
    await until(lambda: redis.xlen("lockstep:events"), "the event to be published")
    assert await redis.xlen("lockstep:events") == 1
    assert not await broken_invariants(database)


async def test_a_worker_that_was_frozen_past_every_timeout_loses_no_order(
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    session: Session,
    other_session: Session,
    start_worker: StartWorker,
) -> None:
    """As a paused machine does it; how long it lasts is the point. Its lease runs out meanwhile."""
    await open_shop(database, {1: 5})
    short = {"lock_wait_seconds": 1, "statement_seconds": 1.2, "transaction_seconds": 1.5, "job_seconds": 2}
    order = an_order({1: 1})
    worker = start_worker(**short)
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    async with OrderClient.connect(settings.redis_url) as client:
        receipt = await client.place(order)
        await until_waiting(other_session, 1)
        worker.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(short["job_seconds"] + 1)
        await end_progress(redis, order)
        worker.process.send_signal(signal.SIGCONT)
        await session.run("COMMIT")
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await session.value("SELECT available FROM stock") == 4
    assert not await broken_invariants(database)


async def test_a_worker_that_is_stopped_in_its_transaction_while_another_runs_the_job_has_no_effect_when_it_goes_on(
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    session: Session,
    other_session: Session,
    start_worker: StartWorker,
) -> None:
    """It has written everything but its COMMIT, and so holds every lock; its session ends as `wait_timeout` ends it."""
    await open_shop(database, {1: 5})
    order = an_order({1: 2})
    stopped = asyncio.Event()

    def stop_before_commit(statement: str) -> Fault | None:
        if statement != "insert_events" or stopped.is_set():
            return None
        zombie.process.send_signal(signal.SIGSTOP)
        stopped.set()
        return None

    door = Door(settings.mysql_url, MySQL, stop_before_commit, kill=lambda: None, delay_seconds=0)
    async with stand(door) as url, OrderClient.connect(settings.redis_url) as client:
        zombie = start_worker(mysql_url=url, **PATIENT)
        receipt = await client.place(order)
        await stopped.wait()
        await end_progress(redis, order)
        start_worker(**PATIENT)
        await until_waiting(other_session, 1)
        (holder,) = await other_session.run(
            "SELECT trx_mysql_thread_id AS id FROM information_schema.innodb_trx WHERE trx_rows_modified > 0"
        )
        await other_session.run(f"KILL {holder['id']}")
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
        zombie.process.send_signal(signal.SIGCONT)

        async def gone_on() -> bool:
            return b'"outage"' in zombie.log.read_bytes()

        await until(gone_on, "the worker to find its session gone")
        assert await zombie.terminate() == 0
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await session.value("SELECT available FROM stock") == 3
    await until(lambda: redis.xlen("lockstep:events"), "the event to be published")
    assert await redis.xlen("lockstep:events") == 1
    assert not await broken_invariants(database)


async def test_a_worker_that_is_told_to_stop_finishes_what_it_runs(
    settings: Settings,
    database: Database,
    session: Session,
    other_session: Session,
    redis: ArqRedis,
    start_worker: StartWorker,
) -> None:
    await open_shop(database, {1: 5})
    order, next_order = an_order({1: 1}), an_order({1: 1})
    worker = start_worker(log_level="debug", **PATIENT)
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    async with OrderClient.connect(settings.redis_url) as client:
        receipt = await client.place(order)
        await until_waiting(other_session, 1)
        exit_code = asyncio.create_task(worker.terminate())

        async def is_stopping() -> bool:
            return b"shutdown on SIGTERM" in worker.log.read_bytes()

        await until(is_stopping, "the worker to say that it stops")
        await redis.delete(HEALTH)

        async def has_looked_for_the_last_time() -> bool:
            """It may have asked for jobs before the signal came; when it has the answer, it gives a sign of life."""
            return bool(await redis.exists(HEALTH))

        await until(has_looked_for_the_last_time, "the worker to look for no more jobs")
        await client.place(next_order)
        await session.run("COMMIT")
        assert await exit_code == 0
        assert b'"stopped"' in worker.log.read_bytes()
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await redis.zrange("arq:queue", 0, -1) == [str(next_order.order_id).encode()]
    log = worker.log.read_bytes()
    # It has five seconds to publish what is there, and a pause may take those; then it says so.
    assert await redis.xlen("lockstep:events") == 1 or b'"events wait"' in log, "it leaves no event behind"
    assert b"Traceback" not in log


async def test_two_workers_on_the_same_hot_products(
    settings: Settings,
    database: Database,
    session: Session,
    start_worker: StartWorker,
) -> None:
    """More is asked for than there is, by customers whose credit is short as well."""
    await open_shop(database, {1: 100, 2: 100, 3: 100}, limits={2: 2000})
    orders = [an_order({1: 1, 2: number % 2 + 1, 3: 1}, customer_id=number % 3 + 1) for number in range(300)]
    workers = [start_worker(**PATIENT), start_worker(**PATIENT)]

    async def both_run() -> bool:
        return all(b'"started"' in worker.log.read_bytes() for worker in workers)

    await until(both_run, "both workers to start")
    async with OrderClient.connect(settings.redis_url) as client:
        receipts = [receipt async for receipt in client.place_many(orders, chunk=1)]  # jobs for both of them
        outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
    assert {outcome.status for outcome in outcomes} == {"placed", "rejected"}
    assert await session.value("SELECT MIN(available) FROM stock") == 0
    assert not await broken_invariants(database)
    for worker in workers:
        assert await worker.terminate() == 0
        lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
        # Events wait where a server, or the worker that has them in hand, pauses.
        assert {line["event"] for line in lines if line["level"] != "info"} <= WAITING_EVENTS
