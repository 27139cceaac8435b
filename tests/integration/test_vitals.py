import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.orders.locks import lock_stock
from jobs.transaction import Transaction
from tests.asking import Session, until, until_waiting
from tests.integration.conftest import MakeWorker
from tests.integration.patience import NEVER
from tests.shop import an_order, open_shop
from worker import metrics
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.probes import Health
from worker.queue import vitals as module
from worker.queue.crew import Crew
from worker.queue.vitals import FORGET_SECONDS, Pulse, Vitals, keep_deadlock, read_deadlock, read_vitals
from worker.settings import Settings

WORKERS = "arq:queue:workers"


@pytest.fixture
async def pulse(redis: ArqRedis, database: Database) -> AsyncIterator[Pulse]:
    """Of a worker of this process; it beats when the test says so, unless it is started."""
    made = Pulse(redis, database, Health(), Crew())
    yield made
    await made.stop()


async def hash_command(redis: ArqRedis, name: str, *arguments: str | bytes) -> Any:
    return await redis.execute_command(name, WORKERS, *arguments)  # type: ignore[no-untyped-call]  # redis-py has no type for it


async def only(redis: ArqRedis) -> Vitals:
    (vitals,) = await read_vitals(redis, "arq:queue")
    return vitals


async def test_anybody_sees_what_a_worker_has_come_to(
    pulse: Pulse,
    redis: ArqRedis,
    database: Database,
    client: OrderClient,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ALIVE_SECONDS", NEVER)
    await open_shop(database, {1: 5})
    await pulse.beat()
    before = await only(redis)
    for quantity in (2, 2, 2):
        await client.place(an_order({1: quantity}))
    await pulse.beat()
    assert (await only(redis)).queue_jobs == 3
    assert (await only(redis)).queue_oldest_seconds > 0
    await make_worker(database).main()
    await pulse.beat()
    after = await only(redis)
    assert after.alive
    assert (after.queue_jobs, after.queue_oldest_seconds) == (0, 0)
    assert after.outcomes["placed"] - before.outcomes.get("placed", 0) == 2
    short = "rejected:insufficient_stock"
    assert after.outcomes[short] - before.outcomes.get(short, 0) == 1
    assert after.latency.counts[-1] - before.latency.counts[-1] == 3
    assert after.latency.sum > before.latency.sum
    assert after.batch.sum - before.batch.sum == 3
    assert len(after.latency.counts) == len(after.latency.bounds) + 1
    assert list(after.latency.counts) == sorted(after.latency.counts)


async def test_the_rate_of_a_worker_is_of_its_orders_since_its_last_beat(
    redis: ArqRedis, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own clock; a beat may be late."""
    clock = SimpleNamespace(time=time.time, monotonic=lambda: 100.0)
    monkeypatch.setattr(module, "time", clock)
    rates = []
    pulse = Pulse(redis, database, Health(), Crew())
    for now, placed, rejected, others in ((101, 5, 0, 0), (103, 6, 2, 9), (104, 0, 0, 9)):
        metrics.OUTCOMES.labels("place_order", "placed", "").inc(placed)
        metrics.OUTCOMES.labels("place_order", "rejected", "credit_limit").inc(rejected)
        metrics.OUTCOMES.labels("cancel_order", "cancelled", "").inc(others)
        clock.monotonic = partial(float, now)
        await pulse.beat()
        rates.append((await only(redis)).orders_per_second)
    assert rates == [5, 4, 0]
    await pulse.stop()


async def test_a_worker_tells_it_again_and_again_until_it_is_stopped(pulse: Pulse, redis: ArqRedis) -> None:
    pulse.start()

    async def told() -> list[Vitals]:
        return await read_vitals(redis, "arq:queue")

    (first,) = await until(told, "the first beat")

    async def later() -> bool:
        return (await only(redis)).at > first.at

    await until(later, "the next beat")
    await pulse.stop()
    assert await told() == []


async def test_who_has_not_been_heard_of_is_dead_and_then_forgotten(
    pulse: Pulse, redis: ArqRedis, database: Database
) -> None:
    await pulse.beat()
    (field,) = await hash_command(redis, "HKEYS")
    told = json.loads(await hash_command(redis, "HGET", field))
    ages = {told["id"]: -NEVER, "silent": 10, "long dead": FORGET_SECONDS + 10}  # one lives, whatever pauses
    for name, age in ages.items():
        await hash_command(redis, "HSET", name, json.dumps({**told, "id": name, "at": told["at"] - age}))
    assert {one.id: one.alive for one in await read_vitals(redis, "arq:queue")} == {
        told["id"]: True,
        "silent": False,
        "long dead": False,
    }
    await Pulse(redis, database, Health(), Crew()).beat()
    left = {one.id for one in await read_vitals(redis, "arq:queue")}
    assert {told["id"], "silent"} <= left
    assert "long dead" not in left


@pytest.mark.parametrize("garbage", ["", "no JSON", "[]", "{}", '{"id": 5}', "\xff"])
async def test_what_is_no_vitals_is_passed_over_and_removed(
    garbage: str, pulse: Pulse, redis: ArqRedis
) -> None:
    await hash_command(redis, "HSET", "garbage", garbage.encode("latin-1"))
    assert await read_vitals(redis, "arq:queue") == []
    await pulse.beat()
    assert await hash_command(redis, "HKEYS") == [(await only(redis)).id.encode()]


async def test_fields_of_another_version_are_passed_over(pulse: Pulse, redis: ArqRedis) -> None:
    await pulse.beat()
    (field,) = await hash_command(redis, "HKEYS")
    told = json.loads(await hash_command(redis, "HGET", field))
    await hash_command(redis, "HSET", field, json.dumps({**told, "invented_later": 1}))
    assert (await only(redis)).id == field.decode()


async def test_the_last_deadlock_is_kept_with_its_picture(
    settings: Settings, redis: ArqRedis, session: Session, other_session: Session
) -> None:
    assert await read_deadlock(redis, "arq:queue") is None

    async def work(transaction: Transaction) -> None:
        await lock_stock(transaction, [1, 2])

    async with Database(settings, tell_deadlock=partial(keep_deadlock, redis)) as database:
        await open_shop(database, dict.fromkeys(range(1, 200), 5))
        await session.run("BEGIN")
        await session.run("UPDATE stock SET available = available + 1 WHERE product_id >= 2")
        task = asyncio.create_task(database.transact(work, job="take"))
        await until_waiting(other_session, 1)
        await session.run("UPDATE stock SET available = available + 1 WHERE product_id = 1")
        await session.run("COMMIT")
        await task
        kept = await until(lambda: read_deadlock(redis, "arq:queue"), "the explanation")
    assert kept.job == "take"
    assert kept.explanation["readable"]
    assert "lock_stock" in {one["statement_name"] for one in kept.explanation["transactions"]}
    assert kept.svg.startswith("<svg")
    assert 0 < await redis.ttl("arq:queue:deadlock") <= 24 * 3600


async def test_what_is_no_deadlock_is_passed_over(redis: ArqRedis) -> None:
    await redis.set("arq:queue:deadlock", "no JSON")
    assert await read_deadlock(redis, "arq:queue") is None
