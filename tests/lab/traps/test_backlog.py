"""Traps of a queue that nobody empties."""

import asyncio
from typing import Any, Final

from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.worker import func

from tests.asking import PATIENCE_SECONDS, until
from tests.conftest import MakeClient
from tests.lab.traps.arq_workers import bare_queue, bare_worker, our_worker, result_of, run_dry
from tests.shop import an_order, open_shop
from worker.database.transactions import Database
from worker.settings import Settings

DAY_MS: Final = 24 * 60 * 60 * 1000


async def test_expired_backlog_wrong_a_day_without_workers_deletes_the_orders(settings: Settings) -> None:
    """R07. arq keeps a job for a day, and then fails it without having run it."""
    ran: list[str] = []

    async def place(ctx: Any) -> None:
        ran.append("place")

    async with bare_queue(settings.redis_url) as queue:
        await queue.enqueue_job("place", _job_id="order 1")
        await a_day_passes(queue, "order 1")
        await run_dry(bare_worker(queue, [func(place, name="place")]))
        result = await result_of(queue, "order 1")
        assert (result.success, str(result.result)) == (False, "job expired")
        assert await queue.zcard("arq:queue") == 0
    assert not ran


async def test_expired_backlog_right_the_orders_wait_for_weeks(
    redis: ArqRedis, database: Database, settings: Settings, make_client: MakeClient
) -> None:
    """R07. A weekend, and then some."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    receipt = await make_client(100).place(order)
    for _ in range(14):
        await a_day_passes(redis, str(order.order_id))
    await run_dry(our_worker(redis, database, settings))
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"


async def a_day_passes(redis: ArqRedis, job_id: str) -> None:
    key = job_key_prefix + job_id
    await redis.pexpire(key, await redis.pttl(key) - DAY_MS)


async def test_unbounded_backlog_wrong_everything_is_accepted(settings: Settings) -> None:
    """R19. Nobody works, and nobody says no."""
    async with bare_queue(settings.redis_url) as queue:
        accepted = [await queue.enqueue_job("place") for _ in range(300)]
        assert all(accepted)
        assert await queue.zcard("arq:queue") == 300


async def test_unbounded_backlog_right_the_client_waits_for_room(
    redis: ArqRedis, settings: Settings, make_client: MakeClient
) -> None:
    """R19. One chunk at a time, as soon as the workers have made room for it."""
    client = make_client(100)

    async def send() -> int:
        return len(
            [receipt async for receipt in client.place_many((an_order({1: 1}) for _ in range(300)), chunk=1)]
        )

    async def full() -> bool:
        return await client.queued() == 100

    task = asyncio.create_task(send())
    for _ in range(2):
        await until(full, "a chunk to be sent")
        _, pending = await asyncio.wait([task], timeout=0.3)
        assert pending
        assert await full()
        await redis.flushdb()  # room for one more of the three chunks
    assert await task == 300
