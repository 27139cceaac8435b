"""The application that `lockstep web` serves."""

import uvloop
from aiohttp import web

from worker.settings import Settings
from worker.web.problems import problems
from worker.web.servers import SETTINGS, open_servers


def make_application(settings: Settings) -> web.Application:
    """All routes, on servers that are connected to when they are first needed."""
    application = web.Application(middlewares=[problems])
    application[SETTINGS] = settings
    application.cleanup_ctx.append(open_servers)
    return application


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises OSError where the address is taken."""
    loop = uvloop.new_event_loop()
    web.run_app(make_application(settings), host=host, port=port, access_log=None, print=None, loop=loop)
