"""What a request is answered with: the database, the queue, a client. Open as long as the application runs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

from aiohttp import web

from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue.connection import queue_at
from worker.settings import Settings

MAX_QUEUED: Final = 100_000

SETTINGS: Final = web.AppKey("SETTINGS", Settings)
DATABASE: Final = web.AppKey("DATABASE", Database)
QUEUE: Final[web.AppKey[Any]] = web.AppKey("QUEUE")  # an ArqRedis, a type that only the queue names
CLIENT: Final = web.AppKey("CLIENT", OrderClient)


async def open_servers(application: web.Application) -> AsyncIterator[None]:
    """Neither server need be there yet: both are connected to when they are first needed."""
    settings = application[SETTINGS]
    async with AsyncExitStack() as stack:
        application[DATABASE] = await stack.enter_async_context(Database(settings))
        application[QUEUE] = queue = queue_at(settings.redis_url, settings.queue_name)
        stack.push_async_callback(queue.aclose)
        application[CLIENT] = OrderClient(queue, max_queued=MAX_QUEUED)
        yield


async def end_waits(application: web.Application) -> None:
    """Whoever waits for an outcome while the application ends is answered without one."""
    await application[CLIENT].stop()
