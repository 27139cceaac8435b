"""`lockstep up`: private servers and one worker in the foreground, until Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from worker.addresses import without_password
from worker.database.migrations import migrate
from worker.embedded import Servers, running_servers
from worker.errors import LockstepError
from worker.processes import interrupt_on_signals, start_worker, stopped_at_the_end
from worker.settings import SERVERS_FILE

FOLDER: Final = Path(".lockstep/up")


def run(console: Console) -> None:
    """Run until Ctrl-C or SIGTERM; then stop the worker first and the servers after it."""
    interrupt_on_signals()
    with running_servers(FOLDER) as servers, _servers_file(servers):
        migrate(servers.migration_url)
        worker = start_worker(servers, "worker", "worker", log=None)
        with stopped_at_the_end([worker]):
            console.print(
                f"database  {without_password(servers.mysql_url)}\n"
                f"redis     {without_password(servers.redis_url)}\n"
                f"passwords in {SERVERS_FILE}\n"
                f"worker    pid {worker.pid}, its log follows; Ctrl-C stops everything\n"
                "now, in another terminal in this folder:\n"
                "  .venv/bin/lockstep catalogue load samples/journey\n"
                "  .venv/bin/lockstep enqueue samples/journey/orders.jsonl.gz\n"
                "  .venv/bin/lockstep audit",
                soft_wrap=True,
                highlight=False,
            )
            try:
                code = worker.wait()
            except KeyboardInterrupt:
                console.print("\nstopping …")
                return
            raise LockstepError(f"the worker has ended by itself, with exit code {code}: see its log above.")


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
