"""The application that `lockstep web` serves."""

import asyncio
import logging
from typing import Final

import structlog
import uvloop
from aiohttp import web

from worker import tracing
from worker.database.migrations import check_ready
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue import wire
from worker.settings import Settings
from worker.web import docs, health, live, orders, storefront
from worker.web.authentication import GUARD, KeyHolders, Neighbours, is_loopback
from worker.web.pages import problem_pages
from worker.web.problems import problems
from worker.web.servers import SETTINGS, end_waits, open_servers
from worker.web.traces import traced

logger = structlog.get_logger()

IDLE_SECONDS: Final = (
    75.0  # how long a client may say nothing: between two requests, or before the first is there
)


def make_application(settings: Settings, *, is_open: bool = False) -> web.Application:
    """All routes, on servers that are connected to when they are first needed.

    `is_open`: nobody needs a key, and other sites cannot come in; listen on loopback alone then.
    """
    application = web.Application(
        middlewares=[traced, problem_pages, problems], client_max_size=wire.MAX_BATCH_BYTES
    )
    application[SETTINGS] = settings
    application[GUARD] = Neighbours() if is_open else KeyHolders()
    application.cleanup_ctx.append(health.watch_lag)
    application.cleanup_ctx.append(open_servers)
    application.on_shutdown.append(end_waits)
    application.add_routes(orders.routes)
    application.add_routes(docs.routes)
    application.add_routes(health.routes)
    application.cleanup_ctx.append(live.open_watch)
    application.on_shutdown.append(live.end_watch)
    application.add_routes(live.routes)
    application.add_routes(storefront.routes)
    return application


def serve(settings: Settings, host: str, port: int, *, is_open: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises OSError where the address is taken, LockstepError where it must not be used."""
    if is_open and not is_loopback(host):
        raise LockstepError(f"--open lets in whoever reaches {host}: leave it out, or listen on 127.0.0.1.")
    # No handler fails there without a line of our own; what is left are the faults of clients, each with a traceback.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    loop = uvloop.new_event_loop()
    loop.run_until_complete(_check(settings))
    application = make_application(settings, is_open=is_open)
    if settings.tracing:
        send_the_rest = tracing.set_up("lockstep-web")
        application.on_cleanup.append(lambda _: asyncio.to_thread(send_the_rest))
    web.run_app(
        application,
        host=host,
        port=port,
        access_log=None,
        print=lambda _: logger.info(
            "listening", url=f"http://{host}:{port}", keys="no" if is_open else "needed"
        ),
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=settings.stop_seconds,
        loop=loop,
    )


async def _check(settings: Settings) -> None:
    async with Database(settings) as database:
        try:
            await check_ready(database)
        except DatabaseError as error:
            logger.warning("database does not answer: requests are refused until it does", error=str(error))
