"""`lockstep web`."""

import click

from worker.errors import LockstepError
from worker.logs import set_up_logs
from worker.settings import read_settings
from worker.web.application import serve


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="the address to listen on")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option(
    "--open", "is_open", is_flag=True, help="ask nobody for a key: for a try-out, on a loopback address alone"
)
def web(host: str, port: int, *, is_open: bool) -> None:
    """Serve the storefront, the door for orders and the live page over HTTP."""
    settings = read_settings()
    set_up_logs(settings.log_format, settings.log_level)
    try:
        serve(settings, host, port, is_open=is_open)
    except OSError as error:
        raise LockstepError(
            f"{host}:{port} cannot be listened on ({error.strerror}): free it, or name another with --port."
        ) from error
