"""That each metric counts what it says, where it happens."""

import asyncio

import pytest
from arq.connections import ArqRedis
from prometheus_client import REGISTRY

from jobs.intake import stage
from jobs.orders.locks import lock_stock
from jobs.transaction import Statement, Transaction
from tests.asking import Session, until, until_waiting
from tests.integration.conftest import MakeIntake, MakeWorker
from tests.shop import an_order, open_shop
from worker import metrics
from worker.client import OrderClient
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.metrics import Histogram
from worker.queue.event_stream import EventStream
from worker.queue.relay import Relay
from worker.settings import Settings


class Counted:
    """What histograms and counters have gained since this was made."""

    def __init__(self, *histograms: Histogram) -> None:
        self._before = {one.name: (one.cumulative()[-1], one.sum()) for one in histograms}

    def of(self, histogram: Histogram) -> tuple[int, float]:
        """How many values, and their sum."""
        count, total = self._before[histogram.name]
        return histogram.cumulative()[-1] - count, histogram.sum() - total


def samples(name: str, **labels: str) -> float:
    """The value that a scrape reads; 0 where there is none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def take(transaction: Transaction) -> None:
    await lock_stock(transaction, [1])


async def test_a_conflict_is_counted_with_its_code_and_statement_and_each_attempt_is(
    settings: Settings, session: Session
) -> None:
    hasty = settings.model_copy(update={"lock_wait_seconds": 1, "transaction_seconds": 0.5})
    conflicts = samples("lockstep_conflicts_total", code="1205", statement="lock_stock")
    waits = samples("lockstep_statement_seconds_sum", statement="lock_stock")
    ends = samples("lockstep_transaction_seconds_count", task="take")
    counted = Counted(metrics.ATTEMPTS)
    async with Database(hasty) as database:
        await open_shop(database, {1: 5})
        counted = Counted(metrics.ATTEMPTS)
        await session.run("BEGIN")
        await session.run("UPDATE stock SET available = 1")
        with pytest.raises(DatabaseError):
            await database.transact(take, job="take")
        assert counted.of(metrics.ATTEMPTS) == (1, 1)
        await session.run("ROLLBACK")
        await database.transact(take, job="take")
    assert counted.of(metrics.ATTEMPTS) == (2, 2)
    assert samples("lockstep_conflicts_total", code="1205", statement="lock_stock") == conflicts + 1
    # The server looks for waits that are over once a second.
    assert samples("lockstep_statement_seconds_sum", statement="lock_stock") - waits > 0.9
    assert samples("lockstep_transaction_seconds_count", task="take") == ends + 2
    assert samples("lockstep_statement_seconds_count", statement="commit") > 0


async def test_a_transaction_that_needs_a_second_attempt_has_two(
    database: Database, session: Session, other_session: Session
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 200), 5))
    counted = Counted(metrics.ATTEMPTS)
    deadlocks = samples("lockstep_conflicts_total", code="1213", statement="lock_stock")

    async def work(transaction: Transaction) -> None:
        await lock_stock(transaction, [1, 2])

    await session.run("BEGIN")
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id >= 2")
    task = asyncio.create_task(database.transact(work, job="take"))
    await until_waiting(other_session, 1)
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id = 1")
    await session.run("COMMIT")
    await task
    assert counted.of(metrics.ATTEMPTS) == (1, 2)
    assert samples("lockstep_conflicts_total", code="1213", statement="lock_stock") == deadlocks + 1


async def test_the_pool_tells_who_has_a_connection_and_who_has_waited(settings: Settings) -> None:
    alone = settings.model_copy(update={"mysql_connections": 1})
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(transaction: Transaction) -> None:
        begun.set()
        await go_on.wait()

    async with Database(alone) as database:
        in_use = metrics.value(metrics.POOL_IN_USE)
        assert metrics.value(metrics.POOL_SIZE) == 1
        waits = Counted(metrics.POOL_WAIT_SECONDS)
        holder = asyncio.create_task(database.transact(hold, job="hold"))
        await begun.wait()
        assert metrics.value(metrics.POOL_IN_USE) == in_use + 1
        waiting = asyncio.create_task(database.fetch(Statement("one", "SELECT 1"), {}))
        go_on.set()
        await asyncio.gather(holder, waiting)
        assert metrics.value(metrics.POOL_IN_USE) == in_use
        assert waits.of(metrics.POOL_WAIT_SECONDS)[0] == 2


async def test_a_job_is_measured_from_enqueue_to_outcome_and_a_bad_one_too(
    database: Database, client: OrderClient, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    counted = Counted(metrics.JOB_SECONDS, metrics.BATCH_ORDERS)
    placed = samples("lockstep_outcomes_total", task="place_orders", outcome="placed", reason="")
    async for _ in client.place_many([an_order({1: 1}) for _ in range(3)]):
        pass
    await client.place(an_order({1: 1}))
    await make_worker(database).main()
    assert counted.of(metrics.JOB_SECONDS)[0] == 2
    assert counted.of(metrics.BATCH_ORDERS)[1] == 4
    assert samples("lockstep_outcomes_total", task="place_orders", outcome="placed", reason="") == placed + 3


async def test_a_job_that_is_put_off_is_counted_and_has_no_outcome_yet(
    settings: Settings, client: OrderClient, make_worker: MakeWorker
) -> None:
    deferred = samples("lockstep_deferred_jobs_total", task="place_order")
    counted = Counted(metrics.JOB_SECONDS)
    await client.place(an_order({1: 1}))
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as outage:
        await make_worker(outage, max_burst_jobs=1).main()
    assert samples("lockstep_deferred_jobs_total", task="place_order") == deferred + 1
    assert counted.of(metrics.JOB_SECONDS)[0] == 0


async def test_a_job_that_is_buried_is_counted(
    database: Database, session: Session, client: OrderClient, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    buried = samples("lockstep_buried_jobs_total", task="place_order")
    dead = samples("lockstep_outcomes_total", task="place_order", outcome="dead", reason="")
    await client.place(an_order({1: 1}))
    await session.run("RENAME TABLE stock TO stock_away")
    try:
        await make_worker(database).main()
    finally:
        await session.run("RENAME TABLE stock_away TO stock")
    assert samples("lockstep_buried_jobs_total", task="place_order") == buried + 1
    assert samples("lockstep_outcomes_total", task="place_order", outcome="dead", reason="") == dead + 1


async def test_the_age_of_the_oldest_event_is_told(
    database: Database, session: Session, stream: EventStream
) -> None:
    await session.run(
        "INSERT INTO outbox (order_id, kind, body, recorded_at)"
        " VALUES (UNHEX(REPEAT('ab', 16)), 'order.placed', '{}', UTC_TIMESTAMP(6) - INTERVAL 1 HOUR)"
    )
    relay = Relay(database, stream)
    await relay.relay_batch()
    assert 3600 <= metrics.value(metrics.OUTBOX_LAG_SECONDS) < 7200
    await relay.relay_batch()
    assert metrics.value(metrics.OUTBOX_LAG_SECONDS) == 0


async def test_the_age_of_the_oldest_staged_order_is_told_and_a_refused_one_is_an_outcome(
    session: Session, redis: ArqRedis, make_intake: MakeIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    invalid = samples("lockstep_outcomes_total", task="sweep_intake", outcome="invalid", reason="")
    await session.run(*stage([an_order({1: 1})]))
    await session.run("INSERT INTO intake (order_id, request) VALUES (UNHEX(REPEAT('ab', 16)), '{}')")
    await session.run("UPDATE intake SET staged_at = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR")
    lags: list[float] = []
    monkeypatch.setattr(metrics.INTAKE_LAG_SECONDS, "set", lags.append)
    make_intake()

    async def caught_up() -> bool:
        return len(lags) > 1 and lags[-1] == 0

    await until(caught_up, "the sweep")
    assert 3600 <= lags[0] < 7200
    assert await redis.zcard("arq:queue") == 1
    assert (
        samples("lockstep_outcomes_total", task="sweep_intake", outcome="invalid", reason="") == invalid + 1
    )
