"""/metrics, /healthz and /readyz of a worker, in a thread of their own: they answer also while its event loop does not."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from socket import AF_INET, AF_INET6
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from worker import metrics
from worker.errors import LockstepError

TICK_SECONDS: Final = 0.25
LATELY_SECONDS: Final = 10.0  # who has not answered for longer does not answer
EVENT_LOOP: Final = "the event loop"
DATABASE: Final = "the database"
REDIS: Final = "Redis"
_ASKED: Final = {"/healthz": [EVENT_LOOP], "/readyz": [EVENT_LOOP, DATABASE, REDIS]}
_PLAIN: Final = "text/plain; charset=utf-8"


class Health:
    """When each of those that a worker needs has answered last. Threads may share it."""

    def __init__(self) -> None:
        self._answered_at = {EVENT_LOOP: time.monotonic(), DATABASE: float("-inf"), REDIS: float("-inf")}

    def answered(self, who: str) -> None:
        """At this moment."""
        self._answered_at[who] = time.monotonic()

    def silent(self, *asked: str) -> list[str]:
        """Those of them that have not answered lately."""
        since = time.monotonic() - LATELY_SECONDS
        return [who for who in asked if self._answered_at[who] < since]


async def watch_event_loop(health: Health) -> None:
    """Measure for ever how late it runs what is due."""
    while True:
        due_at = time.monotonic() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        metrics.LOOP_LAG_SECONDS.observe(max(0.0, time.monotonic() - due_at))
        health.answered(EVENT_LOOP)


@contextmanager
def serving(host: str, port: int, health: Health) -> Iterator[int]:
    """Answer until the end of the block; the port, which the system picks where it is 0.

    Raises LockstepError where this address cannot be had.
    """
    try:
        server = make_server(host, port, _application(health), _Server, _Handler)
    except OSError as error:
        raise LockstepError(
            f"the metrics cannot be served at {host}:{port} ({error.strerror or error}):"
            " set LOCKSTEP_METRICS_PORT to a port that is free, or to 0."
        ) from error
    Thread(target=server.serve_forever, name="probes", daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # nobody waits for who is slow to read

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        super().__init__(address, handler)


class _Handler(WSGIRequestHandler):
    timeout = 5  # for who says nothing

    def log_message(self, *_: object) -> None:
        """A probe that comes every few seconds is worth no line."""


def _application(health: Health) -> WSGIApplication:
    def answer(path: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/metrics":
            return HTTPStatus.OK, metrics.CONTENT_TYPE, metrics.exposition()
        if path not in _ASKED:
            return HTTPStatus.NOT_FOUND, _PLAIN, b"there are /metrics, /healthz and /readyz\n"
        if silent := health.silent(*_ASKED[path]):
            said = f"no answer for {LATELY_SECONDS:.0f} s: {', '.join(silent)}\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, said.encode()
        return HTTPStatus.OK, _PLAIN, b"ok\n"

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, content_type, body = answer(environ["PATH_INFO"])
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    return application
