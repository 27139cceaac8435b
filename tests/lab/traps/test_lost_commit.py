"""The traps of a COMMIT whose answer never came."""

import asyncio

import pytest
import structlog
from pydantic import ValidationError
from tenacity import retry, retry_if_exception, stop_after_attempt

from jobs.orders.outcomes import Placed
from jobs.transaction import Parameters, Statement
from tests.asking import Session
from tests.lab.traps.bare import (
    LOST_CONNECTION,
    available,
    has_code,
    open_connection,
    query,
    take_one,
)
from tests.lab.traps.proxy import Loss, Proxy
from tests.shop import an_order, broken_invariants, open_shop
from worker.database import transactions
from worker.database.transactions import Database
from worker.queue.idempotency import place_once
from worker.settings import Settings


async def order_one(connection_url: str) -> None:
    """The whole job of a wrong side: a connection, a transaction, a COMMIT."""
    async with open_connection(connection_url) as connection:
        await query(connection, "BEGIN")
        await take_one(connection, 1)
        await connection.commit()


async def test_cancelled_commit_wrong_it_was_durable_all_the_same(
    settings: Settings, database: Database, session: Session
) -> None:
    """P62. A job that was cancelled in its COMMIT is run again, and takes twice."""
    await open_shop(database, {1: 5})
    async with Proxy.before(settings.mysql_url) as proxy:
        proxy.loss = Loss.WITHHELD
        task = asyncio.create_task(order_one(proxy.mysql_url))
        await proxy.committed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await order_one(proxy.mysql_url)
    assert await available(session, 1) == [3]


async def test_cancelled_commit_right_the_next_run_finds_its_outcome(
    settings: Settings, session: Session
) -> None:
    """P62. The order's id is its primary key, so that another run of the job changes nothing."""
    async with (
        Proxy.before(settings.mysql_url) as proxy,
        Database(settings.model_copy(update={"mysql_url": proxy.mysql_url})) as database,
    ):
        await open_shop(database, {1: 5})
        order = an_order({1: 1})
        proxy.loss = Loss.WITHHELD
        task = asyncio.create_task(place_once(database, [order], job="test"))
        await proxy.committed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        outcomes = await place_once(database, [order], job="test")
        assert outcomes == [Placed(order_id=order.order_id, total_cents=100)]
        assert not await broken_invariants(database)
    assert await available(session, 1) == [4]


async def test_lost_commit_wrong_a_retry_takes_twice(
    settings: Settings, database: Database, session: Session
) -> None:
    """P62. Error 2013 in COMMIT does not say whether it happened."""
    await open_shop(database, {1: 5})
    again = retry(
        retry=retry_if_exception(has_code(LOST_CONNECTION)), stop=stop_after_attempt(2), reraise=True
    )
    async with Proxy.before(settings.mysql_url) as proxy:
        proxy.loss = Loss.CUT
        await again(order_one)(proxy.mysql_url)
    assert await available(session, 1) == [3]


async def test_lost_commit_right_a_retry_meets_its_own_key(settings: Settings, session: Session) -> None:
    """P62. The second attempt gets error 1062 and reads what the first came to."""
    async with (
        Proxy.before(settings.mysql_url) as proxy,
        Database(settings.model_copy(update={"mysql_url": proxy.mysql_url})) as database,
    ):
        await open_shop(database, {1: 5})
        order = an_order({1: 1})
        proxy.loss = Loss.CUT
        with structlog.testing.capture_logs() as logs:
            outcomes = await place_once(database, [order], job="test")
        assert outcomes == [Placed(order_id=order.order_id, total_cents=100)]
        assert [log["statement"] for log in logs if log["event"] == "outage"] == ["commit"]
        assert not await broken_invariants(database)
    assert await available(session, 1) == [4]


async def test_outer_timeout_wrong_it_cuts_a_commit_that_happens(
    settings: Settings, database: Database, session: Session
) -> None:
    """Q10. The limit around the job fires first: it cannot tell what was going on inside."""
    await open_shop(database, {1: 5})
    async with Proxy.before(settings.mysql_url) as proxy:
        proxy.loss = Loss.WITHHELD
        limit = asyncio.timeout(None)

        async def job() -> None:
            async with limit:
                await order_one(proxy.mysql_url)

        task = asyncio.create_task(job())
        await proxy.committed.wait()
        limit.reschedule(0)  # it has passed
        with pytest.raises(TimeoutError):
            await task
    assert await available(session, 1) == [4]


async def test_outer_timeout_right_the_inner_limit_is_shorter_and_names_the_statement(
    settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q10. So the attempt is made again, settings that would turn that round are refused, and no limit is around the job."""
    with pytest.raises(
        ValidationError, match="LOCKSTEP_STATEMENT_SECONDS must be less than LOCKSTEP_TRANSACTION_SECONDS"
    ):
        Settings(mysql_url=settings.mysql_url, redis_url=settings.redis_url, transaction_seconds=4)
    async with Proxy.before(settings.mysql_url) as proxy:

        class ImpatientAtCommit(transactions._Session):
            """Every other statement has as long as it takes."""

            async def execute(self, statement: Statement, parameters: Parameters) -> int:
                if statement.name == "commit" and proxy.loss:
                    self._statement_seconds = 0.2
                return await super().execute(statement, parameters)

        async with Database(settings.model_copy(update={"mysql_url": proxy.mysql_url})) as database:
            await open_shop(database, {1: 5})
            monkeypatch.setattr(transactions, "_Session", ImpatientAtCommit)
            order = an_order({1: 1})
            proxy.loss = Loss.WITHHELD
            with structlog.testing.capture_logs() as logs:
                async with asyncio.timeout(settings.job_seconds):
                    (outcome,) = await place_once(database, [order], job="test")
            assert outcome == Placed(order_id=order.order_id, total_cents=100)
            assert [log["error"] for log in logs if log["event"] == "outage"] == ["commit: TimeoutError"]
    assert await available(session, 1) == [4]
