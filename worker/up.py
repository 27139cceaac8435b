"""`lockstep up`: private servers, one worker and the web in the foreground, until Ctrl-C."""

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Final

from rich.console import Console

from jobs.orders.products import has_products
from worker.addresses import without_password
from worker.catalogue import SAMPLES, load_catalogue
from worker.database.migrations import migrate
from worker.database.transactions import Database
from worker.embedded import LOOPBACK, Servers, running_servers
from worker.errors import LockstepError
from worker.processes import interrupt_on_signals, start_worker, stopped_at_the_end
from worker.settings import SERVERS_FILE, WHOLE_TABLES, Settings

FOLDER: Final = Path(".lockstep/up")
LOOK_SECONDS: Final = 0.1


def run(console: Console, port: int) -> None:
    """Run until Ctrl-C or SIGTERM; then stop the worker and the web first, and the servers after them."""
    interrupt_on_signals()
    _check_free(port)
    with running_servers(FOLDER) as servers, _servers_file(servers):
        migrate(servers.migration_url)
        asyncio.run(_fill(servers, console))
        started: list[Popen[bytes]] = []
        with stopped_at_the_end(started):
            started.append(start_worker(servers, "worker", "worker", log=None))
            started.append(start_worker(servers, "worker", "web", "--open", "--port", str(port), log=None))
            console.print(_what_runs(servers, port), soft_wrap=True, highlight=False)
            try:
                _wait_for_the_first_end({"worker": started[0], "web": started[1]})
            except KeyboardInterrupt:
                console.print("\nstopping …")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LockstepError(
                f"{LOOPBACK}:{port} cannot be listened on ({error.strerror}): free it, or name another with --port."
            ) from error


async def _fill(servers: Servers, console: Console) -> None:
    """The sample catalogue, where there is none and this is a checkout."""
    settings = Settings(mysql_url=servers.mysql_url, redis_url=servers.redis_url).model_copy(
        update=WHOLE_TABLES
    )
    async with Database(settings) as database:
        if await has_products(database) or not SAMPLES.is_dir():
            return
        console.print(f"loading {SAMPLES.name} as the catalogue …")
        await load_catalogue(database, SAMPLES, progress=lambda _: None, report=_no_bad_line)


def _no_bad_line(file: str, line: int, problem: str) -> None:
    raise LockstepError(f"{file} is damaged, line {line}: {problem}.")


def _what_runs(servers: Servers, port: int) -> str:
    url = f"http://{LOOPBACK}:{port}"
    return (
        f"database  {without_password(servers.mysql_url)}\n"
        f"redis     {without_password(servers.redis_url)}\n"
        f"passwords in {SERVERS_FILE}\n"
        f"live page {url}/\n"
        f"a product {url}/product/1082185/900\n"
        f"HTTP API  {url}/docs\n"
        "one worker and the web run, their logs follow; Ctrl-C stops everything\n"
        "now, in another terminal in this folder:\n"
        "  .venv/bin/lockstep enqueue samples/journey/orders.jsonl.gz\n"
        "  .venv/bin/lockstep audit"
    )


def _wait_for_the_first_end(processes: Mapping[str, Popen[bytes]]) -> None:
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise LockstepError(
                    f"the {name} has ended by itself, with exit code {process.returncode}: see its log above."
                )
        time.sleep(LOOK_SECONDS)


@contextmanager
def _servers_file(servers: Servers) -> Iterator[None]:
    """Where commands in this folder find the servers as long as they run."""
    SERVERS_FILE.touch(mode=0o600)
    SERVERS_FILE.write_text(
        f"LOCKSTEP_MYSQL_URL={servers.mysql_url}\n"
        f"LOCKSTEP_MIGRATION_URL={servers.migration_url}\n"
        f"LOCKSTEP_REDIS_URL={servers.redis_url}\n",
        encoding="utf-8",
    )
    try:
        yield
    finally:
        SERVERS_FILE.unlink(missing_ok=True)
