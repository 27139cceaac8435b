"""All who wait for an outcome wait together."""

import asyncio
import time
from typing import Final
from unittest.mock import Mock

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.asking import PATIENCE_SECONDS, until
from tests.conftest import MakeClient
from tests.integration.conftest import MakeWorker, running
from tests.integration.patience import NEVER
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, open_shop
from worker.client import OrderClient, Receipt
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue import results, wire
from worker.settings import Settings

PAGES: Final = 1000 // results.PAGE
REFUSED = {"status": "invalid", "error": "by the test"}


async def commands(redis: ArqRedis) -> dict[str, int]:
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


def waiting(*receipts: Receipt) -> list[asyncio.Task[object]]:
    return [asyncio.create_task(receipt.outcome(timeout=PATIENCE_SECONDS)) for receipt in receipts]


async def until_asked_for(redis: ArqRedis) -> None:
    """Until Redis was asked for a result, since its counts were reset."""

    async def asked() -> bool:
        return "mget" in await commands(redis)

    await until(asked, "somebody to be asked for")


async def finish(redis: ArqRedis, job_id: str, outcome: object = REFUSED) -> None:
    """What a worker does at the end of a job."""
    job = wire.deserialize(await redis.get(job_key_prefix + job_id))
    result = wire.serialize(job | {"t": 1, "s": True, "r": outcome, "st": 1, "ft": 1})
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set(result_key_prefix + job_id, result)
        pipe.zrem("arq:queue", job_id)
        await pipe.execute()


async def test_a_thousand_receipts_ask_redis_in_pages(
    settings: Settings, redis: ArqRedis, make_client: MakeClient
) -> None:
    client = make_client(10_000)
    receipts = [
        receipt async for receipt in client.place_many([an_order({1: 1}) for _ in range(1000)], chunk=1)
    ]
    await redis.config_resetstat()
    started = time.monotonic()
    tasks = waiting(*receipts)
    asked: dict[str, int] = {}

    async def asked_often() -> bool:
        asked.update(await commands(redis))
        return asked.get("mget", 0) >= 5 * PAGES and asked.get("zmscore", 0) >= PAGES

    await until(asked_often, "everybody to be asked for, again and again")
    seconds = time.monotonic() - started
    assert not any(task.done() for task in tasks)
    assert asked["mget"] <= PAGES * (2 + seconds / results.POLL_SECONDS)
    assert asked["zmscore"] <= PAGES * (2 + seconds / results.CHECK_SECONDS)
    assert set(asked) & {"get", "zscore", "exists"} == set()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_nobody_is_asked_for_when_nobody_waits(
    settings: Settings, redis: ArqRedis, make_client: MakeClient
) -> None:
    client = make_client(100)
    receipt = await client.place(an_order({1: 1}))
    with pytest.raises(TimeoutError):
        await receipt.outcome(timeout=0.05)
    watcher = client._results._background._task
    assert watcher

    async def idle() -> bool:
        return watcher.done()

    await until(idle, "the watcher to end")


async def test_the_result_of_a_bulk_job_is_read_once_for_all_who_wait(
    settings: Settings, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, make_client: MakeClient
) -> None:
    client = make_client(1000)
    receipts = [receipt async for receipt in client.place_many([an_order({1: 1}) for _ in range(100)])]
    tasks = waiting(*receipts)
    read = Mock(wraps=wire.deserialize)
    monkeypatch.setattr(results, "deserialize", read)
    await finish(redis, receipts[0].job_id, [{**REFUSED, "error": str(place)} for place in range(100)])
    outcomes = await asyncio.gather(*tasks)
    assert [outcome.error for outcome in outcomes] == [str(place) for place in range(100)]  # type: ignore[attr-defined]  # all Invalid
    assert read.call_count == 1


async def test_an_outcome_that_is_there_is_given_without_a_pause(
    settings: Settings, redis: ArqRedis, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, as a loop over receipts asks for them: a single pause would last for longer than the test."""
    monkeypatch.setattr(results, "POLL_SECONDS", NEVER)
    client = make_client(1000)
    receipts = [receipt async for receipt in client.place_many([an_order({1: 1}) for _ in range(100)])]
    await finish(redis, receipts[0].job_id, [REFUSED] * 100)
    for receipt in receipts:
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "invalid"


async def test_a_waiter_that_gives_up_disturbs_no_other(
    settings: Settings, redis: ArqRedis, make_client: MakeClient
) -> None:
    client = make_client(100)
    receipt = await client.place(an_order({1: 1}))
    first, second = waiting(receipt, receipt)
    with pytest.raises(TimeoutError):
        await receipt.outcome(timeout=0.05)
    first.cancel()
    await finish(redis, receipt.message.job_id)
    await second
    assert first.cancelled()


async def test_a_job_that_is_lost_while_somebody_waits_is_asked_again(
    settings: Settings, database: Database, redis: ArqRedis, make_worker: MakeWorker, make_client: MakeClient
) -> None:
    await open_shop(database, {1: 10})
    client = make_client(100)
    await redis.config_resetstat()
    tasks = waiting(*[await client.place(an_order({1: 1})) for _ in range(2)])
    await until_asked_for(redis)
    await redis.flushdb()
    async with running(make_worker(database, burst=False)):
        assert [outcome.status for outcome in await asyncio.gather(*tasks)] == ["placed"] * 2  # type: ignore[attr-defined]  # of any outcome


async def test_a_result_that_cannot_be_read_is_asked_again_three_times(
    settings: Settings, redis: ArqRedis, make_client: MakeClient
) -> None:
    client = make_client(100)
    receipt = await client.place(an_order({1: 1}))
    key = result_key_prefix + receipt.message.job_id
    (task,) = waiting(receipt)
    for _ in range(3):
        await redis.set(key, b"\xc1")

        async def removed() -> bool:
            return task.done() or not await redis.exists(key)

        await until(removed, "the result to be removed")
    with pytest.raises(
        LockstepError, match=f"{receipt.message.job_id} has failed: its result cannot be read"
    ):
        await task


async def test_an_outage_of_redis_reaches_all_who_wait(settings: Settings, redis: ArqRedis) -> None:
    door = Door(settings.redis_url)
    async with door.stand() as url, OrderClient.connect(url) as client:
        receipts = [await client.place(an_order({1: 1})) for _ in range(3)]
        await redis.config_resetstat()
        tasks = waiting(*receipts)
        await until_asked_for(redis)
        await door.shut()
        failed = await asyncio.gather(*tasks, client.place(an_order({1: 1})), return_exceptions=True)
        assert [type(error) for error in failed] == [RedisConnectionError] * 4
        await door.open()
        tasks = waiting(*receipts)
        for receipt in receipts:
            await finish(redis, receipt.message.job_id)
        assert len(await asyncio.gather(*tasks)) == 3


async def test_who_still_waits_when_the_client_is_closed_is_told(settings: Settings, redis: ArqRedis) -> None:
    await redis.config_resetstat()
    async with OrderClient.connect(settings.redis_url) as client:
        tasks = waiting(await client.place(an_order({1: 1})))
        await until_asked_for(redis)
        receipt = await client.place(an_order({1: 1}))
    with pytest.raises(LockstepError, match="the client was closed before the outcome was there"):
        await tasks[0]
    with pytest.raises(LockstepError, match="the client is closed"):
        await receipt.outcome()
