"""Events make the cache forget the products whose stock they have changed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from uuid import uuid4

import orjson
import pytest
import structlog
from arq.connections import ArqRedis

from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.requests import Restock
from jobs.orders.storefront import Product, find_product
from jobs.transaction import Parameters, Row, Statement
from tests.asking import until
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, open_shop
from worker.database.transactions import Database
from worker.queue import invalidation as module
from worker.queue.cache import Cache
from worker.queue.event_stream import EventStream
from worker.queue.idempotency import place_once, restock_once
from worker.queue.invalidation import Invalidation
from worker.queue.relay import Relay
from worker.settings import Settings

EVENT: Final[dict[Any, Any]] = {"body": orjson.dumps({"lines": [{"product_id": 1}]})}
JUNK: Final[tuple[dict[Any, Any], ...]] = (
    {"kind": "x"},
    {"body": "no JSON"},
    {"body": "[]"},
    {"body": '{"lines": [{"product_id": "x"}]}'},
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)


@asynccontextmanager
async def reading(url: str, settings: Settings) -> AsyncIterator[tuple[Cache, Invalidation]]:
    """A cache that keeps for longer than any test, and what makes it forget."""
    cache = Cache(url, settings.queue_name, 3600)
    invalidation = Invalidation(url, settings.events_stream, cache)
    invalidation.start()
    try:
        yield cache, invalidation
    finally:
        await invalidation.stop()
        await cache.close()


class Loads(Database):
    """Counts how often a product is loaded."""

    loads = 0

    async def fetch_once(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        self.loads += statement.name == "product"
        return await super().fetch_once(statement, parameters)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Loads]:
    async with Loads(settings) as opened:
        yield opened


@pytest.fixture
async def kept(settings: Settings) -> AsyncIterator[Cache]:
    """What another process keeps, and reads no events for."""
    cache = Cache(settings.redis_url, settings.queue_name, 3600)
    yield cache
    await cache.close()


async def until_listening(invalidation: Invalidation) -> None:
    async def listens() -> bool:
        return invalidation._last is not None

    await until(listens, "the end of the stream to be found")


async def until_shown(cache: Cache, database: Loads, available: int) -> None:
    """Until the cache gives so many of product 1, and keeps them."""

    async def is_shown() -> bool:
        return await shown(cache, database) == available

    await until(is_shown, f"{available} to be shown")


async def until_loaded(cache: Cache, database: Loads, times: int) -> None:
    async def is_loaded() -> bool:
        await shown(cache, database)
        return database.loads == times

    await until(is_loaded, "the product to be forgotten")


async def shown(cache: Cache, database: Loads, product_id: int = 1) -> int:
    product = await cache.get(Product, product_id, partial(find_product, database, product_id))
    assert product is not None
    return product.available


async def test_an_order_and_its_cancellation_are_shown_by_their_events(
    settings: Settings, database: Loads, stream: EventStream
) -> None:
    await open_shop(database, {1: 5, 2: 5})
    order = an_order({1: 2})
    relay = Relay(database, stream)
    async with reading(settings.redis_url, settings) as (cache, invalidation):
        assert [await shown(cache, database, number) for number in (1, 2)] == [5, 5]
        await until_listening(invalidation)
        await place_once(database, [order], job="test")
        assert await shown(cache, database) == 5, "it is kept until the event comes"
        await relay.relay_batch()
        await until_shown(cache, database, 3)
        taken = await read_taken(database, order.order_id)
        assert isinstance(taken, Taken)
        await database.transact(partial(cancel_order, taken=taken), job="test")
        await relay.relay_batch()
        await until_shown(cache, database, 5)
        assert await shown(cache, database, 2) == 5
        assert database.loads == 4, "only what an event names is loaded again"


async def test_entries_that_are_not_understood_are_passed_over(
    settings: Settings, database: Loads, redis: ArqRedis
) -> None:
    await open_shop(database, {1: 5})
    async with reading(settings.redis_url, settings) as (cache, invalidation):
        await until_listening(invalidation)
        await shown(cache, database)
        for entry in (*JUNK, EVENT):
            await redis.xadd(settings.events_stream, entry)
        await until_loaded(cache, database, 2)


async def test_what_was_published_while_redis_was_away_is_read_when_it_is_back(
    settings: Settings, database: Loads, redis: ArqRedis, kept: Cache
) -> None:
    await open_shop(database, {1: 5})
    door = Door(settings.redis_url)
    with structlog.testing.capture_logs() as logs:
        async with door.stand() as url, reading(url, settings) as (_, invalidation):
            await until_listening(invalidation)
            await shown(kept, database)
            await door.shut()

            async def is_told() -> bool:
                return any(entry["event"] == "events are not read" for entry in logs)

            await until(is_told, "the log to say so")
            await redis.xadd(settings.events_stream, EVENT)
            await door.open()
            await until_loaded(kept, database, 2)
    events = [entry["event"] for entry in logs if entry["event"].startswith("events are")]
    assert events == ["events are not read", "events are read again"]


async def test_an_event_by_which_the_cache_could_not_forget_is_read_again(
    settings: Settings, database: Loads, redis: ArqRedis, kept: Cache
) -> None:
    """The cache's own way to Redis is shut, and the reader's is not."""
    await open_shop(database, {1: 5})
    door = Door(settings.redis_url)
    async with door.stand() as url:
        cut_off = Cache(url, settings.queue_name, 3600)
        invalidation = Invalidation(settings.redis_url, settings.events_stream, cut_off)
        invalidation.start()
        await until_listening(invalidation)
        await shown(kept, database)
        await door.shut()
        await redis.xadd(settings.events_stream, EVENT)

        async def has_failed() -> bool:
            return cut_off._is_down

        await until(has_failed, "the cache to fail")
        await door.open()
        await until_loaded(kept, database, 2)
        await invalidation.stop()
        await cut_off.close()


async def test_a_restock_which_is_no_event_is_shown_when_what_was_kept_has_expired(
    settings: Settings, database: Loads, redis: ArqRedis, kept: Cache
) -> None:
    await open_shop(database, {1: 5})
    assert await shown(kept, database) == 5
    await restock_once(database, Restock(restock_id=uuid4(), product_id=1, quantity=20))
    assert await shown(kept, database) == 5
    await redis.pexpire(f"{settings.queue_name}:cache:product:1", 1)
    await until_shown(kept, database, 25)
