"""The application that `lockstep web` serves."""

import uvloop
from aiohttp import web

from worker.queue import wire
from worker.settings import Settings
from worker.web import orders
from worker.web.authentication import GUARD, KeyHolders, Neighbours
from worker.web.problems import problems
from worker.web.servers import SETTINGS, open_servers


def make_application(settings: Settings, *, for_this_machine: bool = False) -> web.Application:
    """All routes, on servers that are connected to when they are first needed.

    `for_this_machine`: programs and browsers of this machine need no key; listen on loopback alone then.
    """
    application = web.Application(middlewares=[problems], client_max_size=wire.MAX_BATCH_BYTES)
    application[SETTINGS] = settings
    application[GUARD] = Neighbours() if for_this_machine else KeyHolders()
    application.cleanup_ctx.append(open_servers)
    application.add_routes(orders.routes)
    return application


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises OSError where the address is taken."""
    loop = uvloop.new_event_loop()
    web.run_app(make_application(settings), host=host, port=port, access_log=None, print=None, loop=loop)
