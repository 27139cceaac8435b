"""Forgets what the cache keeps of products whose stock an event has changed. Each web process does so: it may be done twice."""

import asyncio
from collections.abc import Mapping
from typing import Final

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from jobs.orders.storefront import Product
from worker.queue.background import Background
from worker.queue.cache import Cache
from worker.queue.connection import connection_pool

logger = structlog.get_logger()

MAX_EVENTS: Final = 500
WAIT_MS: Final = 1000  # for the next event, in one command
RETRY_SECONDS: Final = 1.0


class Invalidation:
    """Reads the stream of events from its end on."""

    def __init__(self, redis_url: str, stream: str, cache: Cache) -> None:
        self._redis = Redis(connection_pool=connection_pool(redis_url, retries=0))
        self._redis.auto_close_connection_pool = True
        self._stream = stream
        self._cache = cache
        self._background = Background(self._work)
        self._last: bytes | None = None
        self._troubled = False

    def start(self) -> None:
        """Run until `stop`; what was published while Redis could not be asked is read when it can."""
        self._background.wake()

    async def stop(self) -> None:
        """End at once. What is missed then is not kept for long."""
        await self._background.stop()
        await self._redis.aclose()

    async def _work(self) -> None:
        while True:
            try:
                await self._read_on()
            except (RedisError, OSError) as error:
                self._tell(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._tell(None)

    async def _read_on(self) -> None:
        """The next events; they are read again where they could not have their effect."""
        if self._last is None:
            newest = await self._redis.xrevrange(self._stream, count=1)
            self._last = newest[0][0] if newest else b"0"
        for _, entries in await self._redis.xread({self._stream: self._last}, MAX_EVENTS, WAIT_MS):
            changed = {product_id for _, entry in entries for product_id in _changed_by(entry)}
            if not await self._cache.forget(Product, changed):
                raise RedisConnectionError("what has changed could not be forgotten")
            self._last = entries[-1][0]

    def _tell(self, error: Exception | None) -> None:
        """Once where it begins, and once where it ends."""
        if error and not self._troubled:
            logger.warning("events are not read", error=f"{type(error).__name__}: {error}")
        if self._troubled and not error:
            logger.info("events are read again")
        self._troubled = error is not None


def _changed_by(entry: Mapping[bytes, bytes]) -> list[int]:
    """The products of an order that has taken stock or given it back; none of what is not understood."""
    try:
        return [int(line["product_id"]) for line in orjson.loads(entry[b"body"])["lines"]]
    except (KeyError, TypeError, ValueError):
        return []
