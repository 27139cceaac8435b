"""What whoever stages orders may rely on: the table's contract, and the client that stages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker
from pymysql import err
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.asking import PATIENCE_SECONDS, Session, open_session
from tests.integration.conftest import MakeIntake
from tests.integration.staging import OVERDUE, insert, queued, stage_all, staged_count, sweep, until_queued
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue import wire
from worker.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def a_service(settings: Settings, session: Session, *columns: str) -> AsyncIterator[Session]:
    """A session that may do nothing but insert into these columns."""
    name = f"stager_{session.database[-8:]}"
    await session.run(f"CREATE USER {name}@'%' IDENTIFIED BY 'Stager-1'")
    await session.run(f"GRANT INSERT ({', '.join(columns)}) ON {session.database}.intake TO {name}@'%'")
    url = urlsplit(settings.mysql_url)
    netloc = f"{name}:Stager-1@{url.hostname}:{url.port}"
    async with open_session(url._replace(netloc=netloc).geturl()) as opened:
        yield opened
    await session.run(f"DROP USER {name}@'%'")


@pytest.fixture
async def stager(settings: Settings, session: Session) -> AsyncIterator[Session]:
    """A service that stages, and enqueues nothing."""
    async with a_service(settings, session, "order_id", "request") as opened:
        yield opened


async def test_the_right_to_insert_id_and_request_is_enough(stager: Session, session: Session) -> None:
    await stager.run(insert(an_order({1: 1})))
    await stage_all(stager, [an_order({1: 1}), an_order({1: 1})])
    assert await session.value("SELECT COUNT(*) FROM intake WHERE enqueued_at IS NULL") == 3
    assert await staged_count(session) == 3
    with pytest.raises(err.OperationalError, match="SELECT command denied"):
        await staged_count(stager)


@pytest.mark.parametrize("column", ["staged_at", "enqueued_at"])
async def test_with_that_right_nobody_makes_up_a_time(column: str, stager: Session) -> None:
    with pytest.raises(err.OperationalError, match="INSERT command denied"):
        await stager.run(
            f"INSERT INTO intake (order_id, request, {column}) VALUES (REPEAT('x', 16), '{{}}', '2100-01-01')"
        )


async def test_whoever_enqueues_at_once_needs_the_right_to_say_so(
    settings: Settings, session: Session, stager: Session
) -> None:
    with pytest.raises(err.OperationalError, match="INSERT command denied"):
        await stage_all(stager, [an_order({1: 1})], at_once=True)


@pytest.mark.parametrize("enqueued_at", ["9999-12-31 23:59:59", "1000-01-01"])
async def test_no_time_that_somebody_makes_up_hides_an_order(
    enqueued_at: str, settings: Settings, session: Session, make_intake: MakeIntake, redis: ArqRedis
) -> None:
    """By the right of those who enqueue at once."""
    at_once, hidden = an_order({1: 1}), an_order({1: 1})
    async with a_service(settings, session, "order_id", "request", "enqueued_at") as service:
        await stage_all(service, [at_once], at_once=True)
        await service.run(
            "INSERT INTO intake (order_id, request, enqueued_at) VALUES (UNHEX(%(id)s), %(request)s, %(at)s)",
            {"id": hidden.order_id.hex, "request": hidden.model_dump_json(), "at": enqueued_at},
        )
    make_intake()
    await until_queued(redis, 1)
    assert await queued(redis) == {str(hidden.order_id)}


async def test_the_insert_of_the_documentation_is_one_that_workers_understand(
    stager: Session, database: Database
) -> None:
    _, statement, *_ = (ROOT / "docs/intake.md").read_text("utf-8").split("```sql\n")
    await stager.run(statement.partition("```")[0])
    swept = await sweep(database)
    assert [(order.order_id, order.customer_id) for order in swept.orders] == [
        (UUID("0198f2a0-7c11-7a3e-9b52-0c4f5d6e7a8b"), 6)
    ]


async def test_the_time_is_that_of_the_server_in_utc(stager: Session, session: Session) -> None:
    await stager.run("SET time_zone = '+09:00'")
    await stager.run(insert(an_order({1: 1})))
    assert (
        await session.value("SELECT ABS(TIMESTAMPDIFF(SECOND, staged_at, UTC_TIMESTAMP())) FROM intake") < 60
    )


@pytest.mark.parametrize("request_text", ["{", "", f'"{"x" * 65_536}"'])
async def test_what_is_no_json_or_too_long_is_refused_where_it_is_staged(
    request_text: str, stager: Session
) -> None:
    with pytest.raises(err.MySQLError) as raised:
        await stager.run(insert(an_order({1: 1}), request=request_text))
    assert raised.value.args[0] in {3140, 3819, 4025}, "as docs/intake.md says"


async def test_a_second_one_under_the_same_id_is_refused_where_it_is_staged(stager: Session) -> None:
    order = an_order({1: 1})
    await stager.run(insert(order))
    with pytest.raises(err.IntegrityError, match="1062"):
        await stage_all(stager, [order])


@pytest.fixture
async def staging(settings: Settings, session: Session) -> AsyncIterator[OrderClient]:
    async def commit(statement: str, parameters: dict[str, Any]) -> None:
        await session.run(statement, parameters)

    async with OrderClient.connect(settings.redis_url, stage_with=commit) as connected:
        yield connected


async def test_orders_are_staged_and_then_enqueued_at_once(
    staging: OrderClient, database: Database, session: Session, redis: ArqRedis, worker: Worker
) -> None:
    await open_shop(database, {1: 50})
    receipts = [await staging.place(an_order({1: 1}))]
    receipts += [
        receipt async for receipt in staging.place_many([an_order({1: 1}) for _ in range(9)], chunk=3)
    ]
    for receipt in receipts:
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await staged_count(session) == 0
    assert worker.jobs_complete == 4


async def test_they_are_staged_first(staging: OrderClient, session: Session, redis: ArqRedis) -> None:
    orders = [an_order({1: 1}) for _ in range(3)]
    await staging.place(orders[0])
    _ = [receipt async for receipt in staging.place_many(orders[1:])]
    assert await session.value("SELECT COUNT(*) FROM intake WHERE enqueued_at IS NOT NULL") == 3


OUTAGES = [RedisConnectionError("gone"), LockstepError("Redis has no memory left")]


@pytest.mark.parametrize("outage", OUTAGES, ids=["away", "full"])
async def test_an_order_is_accepted_while_redis_takes_none(
    outage: Exception,
    staging: OrderClient,
    database: Database,
    session: Session,
    make_intake: MakeIntake,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await open_shop(database, {1: 5})

    async def gone(*_: object) -> list[bool]:
        raise outage

    with monkeypatch.context() as patched:
        patched.setattr(wire, "enqueue", gone)
        receipt = await staging.place(an_order({1: 1}))
    assert await staged_count(session) == 1
    await session.run(OVERDUE)
    make_intake()
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"


async def test_without_staging_it_is_told_that_redis_is_away(
    client: OrderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> list[bool]:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(wire, "enqueue", gone)
    with pytest.raises(RedisConnectionError):
        await client.place(an_order({1: 1}))
