"""Whether this process is well, and what it has counted: for those who watch it."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from aiohttp import web

from worker import metrics
from worker.database.migrations import check_ready
from worker.errors import LockstepError
from worker.probes import Health, watch_event_loop
from worker.web.authentication import needs_key
from worker.web.problems import Problem
from worker.web.servers import DATABASE

OK: Final = "ok\n"
routes: Final = web.RouteTableDef()


async def watch_lag(_: web.Application) -> AsyncIterator[None]:
    """Measure how late the event loop runs what is due, as long as the application does."""
    watching = asyncio.create_task(watch_event_loop(Health()))
    yield
    watching.cancel()
    await asyncio.wait([watching])


@routes.get("/healthz")
async def is_alive(_: web.Request) -> web.Response:
    """Its event loop runs."""
    return web.Response(text=OK)


@routes.get("/readyz")
async def is_ready(request: web.Request) -> web.Response:
    """The database answers, and has its tables. Redis is not asked: without it orders are accepted all the same."""
    try:
        await check_ready(request.app[DATABASE])
    except LockstepError as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the database is not set up for this") from error
    return web.Response(text=OK)


@routes.get("/metrics")
@needs_key
async def tell_metrics(_: web.Request) -> web.Response:
    """For Prometheus."""
    return web.Response(body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})
