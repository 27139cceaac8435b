"""The server under the lab: its family, its levels, and which of its sessions wait."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import aiomysql
from pymysql import err

from tests.asking import WAITING_READERS, lock_waiters

LOCK_WAIT_SECONDS: Final = 30  # so that a hang ends; a pitfall that is about this time sets its own
LEVELS: Final = {
    "RC": "READ COMMITTED",
    "RR": "REPEATABLE READ",
    "SI": "REPEATABLE READ",  # with innodb_snapshot_isolation
    "SER": "SERIALIZABLE",
}
FAMILIES: Final = ("mariadb-10", "mariadb-11", "mysql")
# What a thread of SHOW PROCESSLIST is doing when it waits for no InnoDB lock and yet for another session.
WAITING_STATES: Final = frozenset(
    {"Waiting for table metadata lock", "User lock", "Waiting for table level lock"}
)


@dataclass(slots=True)
class Session:
    """One connection of a schedule."""

    name: str
    connection: aiomysql.Connection

    @property
    def id(self) -> int:
        """The server's number for it."""
        number: int = self.connection.thread_id()
        return number

    async def run(self, sql: str) -> tuple[int, list[tuple[Any, ...]] | None]:
        """Run one statement: the number of rows that it changed, and the rows that it gave, if it gives any."""
        cursor = await self.connection.cursor()
        # MySQL 9 calls SHOW PROCESSLIST deprecated. pytest restores the filter; here it would disturb other sessions.
        warnings.simplefilter("ignore", err.Warning)
        changed = await cursor.execute(sql)
        return changed, list(await cursor.fetchall()) if cursor.description else None


class Server:
    """Makes sessions at a level, and asks who waits."""

    def __init__(self, mysql_url: str, watcher: Session, version: str) -> None:
        self._mysql_url = mysql_url
        self._watcher = watcher
        self.version = version
        self.is_mariadb = "MariaDB" in version
        self.family = (
            ("mariadb-10" if version.startswith("10.") else "mariadb-11") if self.is_mariadb else "mysql"
        )

    @classmethod
    @asynccontextmanager
    async def connect(cls, mysql_url: str) -> "AsyncIterator[Self]":
        """A server, with a connection of its own to ask it."""
        connection = await _connect(mysql_url)
        watcher = Session("watcher", connection)
        try:
            _, rows = await watcher.run("SELECT VERSION()")
            assert rows
            yield cls(mysql_url, watcher, rows[0][0])
        finally:
            connection.close()

    @property
    def levels(self) -> list[str]:
        """The levels that this server has."""
        return [level for level in LEVELS if level != "SI" or self.is_mariadb]

    async def open_session(self, name: str, database: str, level: str) -> Session:
        """A session at a level, in autocommit, whose waits end after LOCK_WAIT_SECONDS."""
        session = Session(name, await _connect(self._mysql_url))
        await session.run(f"USE {database}")
        await session.run(f"SET SESSION TRANSACTION ISOLATION LEVEL {LEVELS[level]}")
        if self.is_mariadb:
            await session.run(f"SET SESSION innodb_snapshot_isolation = {'ON' if level == 'SI' else 'OFF'}")
        await session.run(
            f"SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}, lock_wait_timeout = {LOCK_WAIT_SECONDS},"
            " sql_mode = 'TRADITIONAL', time_zone = '+00:00'"
        )
        return session

    async def run(self, sql: str) -> list[tuple[Any, ...]]:
        """A statement of the lab's own."""
        _, rows = await self._watcher.run(sql)
        return rows or []

    async def waiting(self) -> set[int]:
        """The sessions that wait for a row lock, a metadata lock or a user lock, as of now (nothing is cached)."""
        ((_, _, status),) = await self.run("SHOW ENGINE INNODB STATUS")
        ids = lock_waiters(status)
        if not self.is_mariadb:
            ids |= {int(row[0]) for row in await self.run(WAITING_READERS)}
        listed = await self.run("SHOW PROCESSLIST")
        return ids | {int(row[0]) for row in listed if row[6] in WAITING_STATES}


async def _connect(mysql_url: str) -> aiomysql.Connection:
    url = urlsplit(mysql_url)
    return await aiomysql.connect(
        host=url.hostname, port=url.port or 3306, user=unquote(url.username or ""),
        password=unquote(url.password or ""), charset="utf8mb4", autocommit=True,
    )  # fmt: skip
