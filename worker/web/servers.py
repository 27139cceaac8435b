"""What a request is answered with: the database, the queue, a client. Open as long as the application runs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from aiohttp import web

from worker.client import OrderClient
from worker.database.transactions import Database, Look
from worker.queue.backlog import read_waiting_seconds
from worker.queue.cache import Cache
from worker.queue.claims import LEASE_SECONDS
from worker.queue.connection import queue_at
from worker.queue.invalidation import Invalidation
from worker.settings import Settings
from worker.web.busy import Busy

MAX_QUEUED: Final = 100_000
RECOVERY_SECONDS: Final = LEASE_SECONDS + 1  # until another worker has the jobs of one that has died

SETTINGS: Final = web.AppKey("SETTINGS", Settings)
DATABASE: Final = web.AppKey("DATABASE", Database)
QUEUE: Final[web.AppKey[Any]] = web.AppKey("QUEUE")  # an ArqRedis, a type that only the queue names
CLIENT: Final = web.AppKey("CLIENT", OrderClient)
BUSY: Final = web.AppKey("BUSY", Busy)
READER: Final = web.AppKey("READER", Look)
CACHE: Final = web.AppKey("CACHE", Cache)


async def open_servers(application: web.Application) -> AsyncIterator[None]:
    """Neither server need be there yet: both are connected to when they are first needed."""
    settings = application[SETTINGS]
    async with AsyncExitStack() as stack:
        application[DATABASE] = database = await stack.enter_async_context(Database(settings))
        application[QUEUE] = queue = queue_at(settings.redis_url, settings.queue_name)
        stack.push_async_callback(queue.aclose)
        application[CLIENT] = OrderClient(queue, max_queued=MAX_QUEUED)
        reading = partial(read_waiting_seconds, queue, RECOVERY_SECONDS)
        application[BUSY] = busy = Busy(reading, settings.busy_seconds)
        stack.push_async_callback(busy.stop)
        application[READER] = Look(database)
        application[CACHE] = cache = Cache(settings.redis_url, settings.queue_name, settings.cache_seconds)
        stack.push_async_callback(cache.close)
        invalidation = Invalidation(settings.redis_url, settings.events_stream, cache)
        stack.push_async_callback(invalidation.stop)
        invalidation.start()
        yield


async def end_waits(application: web.Application) -> None:
    """Whoever waits for an outcome while the application ends is answered without one."""
    await application[CLIENT].stop()
