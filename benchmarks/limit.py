"""The limit: Lockstep's own statements, replayed by two command line clients. No Python, no queue.

The statements are taken from the server's general log of a real run, in transactions of so many orders. They are
plain text then: the rows they write are fixed, and adding up they do not depend on who comes first.
"""

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Final

from benchmarks.loads import Load
from benchmarks.shop import mysql_client, run_sql
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.errors import LockstepError
from worker.queue.idempotency import place_once
from worker.settings import Settings

CLIENTS: Final = 2
BATCHES: Final = (1, 16, 64, 128, 256, 500)
PATIENCE_SECONDS: Final = 120
_COMMIT: Final = "COMMIT;\n"
_LOG: Final = "SET GLOBAL log_output = 'TABLE'; TRUNCATE mysql.general_log; SET GLOBAL general_log = ON"
_END_LOG: Final = "SET GLOBAL general_log = OFF"
_LOGGED: Final = (
    "SELECT CONCAT(argument, ';') FROM mysql.general_log WHERE command_type = 'Query' AND thread_id IN ("
    "SELECT thread_id FROM mysql.general_log WHERE argument LIKE '%START TRANSACTION%')"
)


async def record(servers: Servers, load: Load, batch: int, folder: Path) -> list[Path]:
    """Place the orders for real, and keep what the server was sent: a file of SQL for each client."""
    settings = Settings(mysql_url=servers.mysql_url, redis_url=servers.redis_url)
    run_sql(servers.migration_url, _LOG)
    try:
        async with Database(settings) as database:  # one connection: nothing runs beside it
            for start in range(0, len(load.orders), batch):
                await place_once(database, load.orders[start : start + batch], job="bench")
    finally:
        run_sql(servers.migration_url, _END_LOG)
    whole = folder / f"limit-{batch}.sql"
    with whole.open("wb") as output:
        run_sql(servers.migration_url, _LOGGED, output)
    return split(whole)


def split(whole: Path) -> list[Path]:
    """Deal the transactions of a file out to the clients; each begins with the settings of the session."""
    session, *transactions, _ = whole.read_text(encoding="utf-8").split(_COMMIT)
    whole.unlink()
    paths = [whole.with_stem(f"{whole.stem}-{number + 1}") for number in range(CLIENTS)]
    for number, path in enumerate(paths):
        parts = [session, *transactions[number::CLIENTS], ""]
        path.write_text(_COMMIT.join(parts), encoding="utf-8")
    return paths


async def replay(servers: Servers, paths: list[Path]) -> float:
    """Seconds from the start of the clients to the end of the last one."""
    return await asyncio.to_thread(_replay, servers.migration_url, paths)


def _replay(mysql_url: str, paths: list[Path]) -> float:
    begin = time.monotonic()
    clients = []
    try:
        for path in paths:
            with path.open("rb") as statements:
                clients.append(mysql_client(mysql_url, stdin=statements, stdout=subprocess.DEVNULL))
        for client in clients:
            _, error = client.communicate(timeout=PATIENCE_SECONDS)
            if client.returncode:
                raise LockstepError(f"a replay of statements failed: {error.decode().strip()}.")
    except subprocess.TimeoutExpired:
        raise LockstepError(f"a replay of statements was not done after {PATIENCE_SECONDS} s.") from None
    finally:
        for client in clients:
            client.kill()  # nothing, to one that has ended
    return time.monotonic() - begin
