"""The pool: a bounded wait, nothing dirty goes back, no zombie is left on the server.

aiomysql's own pool loses wake-ups, waits without limit, and lets one slow connect block everybody; so this is
a semaphore in front of a list, and nobody ever waits inside.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiomysql
import structlog
from pymysql import err
from pymysql.constants import CLIENT, SERVER_STATUS

from worker import metrics
from worker.addresses import distrust, tls_context
from worker.database.retry import DatabaseError, Kind
from worker.settings import Settings

logger = structlog.get_logger()

CLEAN_UP_SECONDS: Final = 1.0  # for a ROLLBACK or a KILL, on the way out of a transaction that failed
IDLE_SECONDS: Final = 30
# Where MariaDB cuts a JSON array, or at max_allowed_packet, by default the same. The rows of the largest batch take
# 1.1 MiB; a page of orders with 500 lines each takes as much as this where the products have the longest names there are.
MAX_AGGREGATE_BYTES: Final = 16 * 1024 * 1024
DEFAULT_PORT: Final = 3306
REFUSALS: Final = frozenset({1044, 1045, 1049, 1698})  # user, password or database: no wait mends them


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # it ships no types
    async def _request_authentication(self) -> None:
        """Aiomysql would go on in the clear, and send the password, where the server (or who poses as it) has no TLS."""
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise ssl.SSLCertVerificationError("the server has no TLS")
        await super()._request_authentication()


class Connections:
    """At most `mysql_connections` lent at a time (a KILL has a connection of its own)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._options = {**_options(settings), "ssl": tls_context(settings.mysql_url)}
        self._slots = asyncio.Semaphore(settings.mysql_connections)
        self._idle: list[aiomysql.Connection] = []
        self._clean_ups: set[asyncio.Task[None]] = set()
        metrics.POOL_SIZE.set(settings.mysql_connections)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[aiomysql.Connection]:
        """A connection with no transaction open.

        After an error it is rolled back before anybody else gets it, or closed and its session killed: also
        when the borrower is cancelled, and then again while that goes on. Raises DatabaseError (an outage)
        where none can be had in time.
        """
        with metrics.POOL_WAIT_SECONDS.time():
            connection = await self._take()
        with metrics.POOL_IN_USE.track_inprogress():
            try:
                yield connection
            except BaseException as error:
                await self._outlive_cancellation(self._clean_up(connection, error))
                raise
            self._take_back(connection)

    async def close(self) -> None:
        """Finish what is being cleaned up, then close all idle connections."""
        await asyncio.gather(*self._clean_ups)
        while self._idle:
            await _say_goodbye(self._idle.pop())

    async def _take(self) -> aiomysql.Connection:
        try:
            async with asyncio.timeout(self._settings.connection_seconds):
                await self._slots.acquire()
        except TimeoutError:
            busy = TimeoutError(f"no connection was free within {self._settings.connection_seconds} s")
            raise DatabaseError("connect", busy, Kind.OUTAGE) from None
        while self._idle:
            if not is_lost(connection := self._idle.pop()):
                return connection
            connection.close()
        try:
            return await self._connect()
        except BaseException:
            self._slots.release()
            raise

    async def _connect(self) -> aiomysql.Connection:
        connection = _Connection(**self._options)
        try:
            async with asyncio.timeout(self._settings.connection_seconds):
                await connection._connect()  # noqa: SLF001  # aiomysql.connect() leaks its socket when cancelled
            if not connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES:
                raise RuntimeError("the server does not say that it quotes without backslashes")  # noqa: TRY301  # closed below
        except BaseException as error:
            connection.close()
            if distrusted := distrust(error):
                raise DatabaseError("connect", distrusted, Kind.BUG) from error
            if isinstance(error, Exception):
                refused = isinstance(error, err.MySQLError) and error.args[0] in REFUSALS
                raise DatabaseError("connect", error, Kind.BUG if refused else Kind.OUTAGE) from error
            raise
        return connection

    def _take_back(self, connection: aiomysql.Connection) -> None:
        if not is_lost(connection):
            self._idle.append(connection)
        self._slots.release()

    async def _clean_up(self, connection: aiomysql.Connection, error: BaseException) -> None:
        try:
            outage = isinstance(error, DatabaseError) and error.kind is Kind.OUTAGE
            if not outage and await _rolled_back(connection):
                return
            connection.close()
            if outage:  # what broke this one (a restart, a failover) has broken those that wait, too
                while self._idle:
                    self._idle.pop().close()
            if not (isinstance(error, DatabaseError) and error.code):
                # We have cut it, so the session lives on. Where the server itself has spoken it is gone, and after
                # a restart its number may be somebody else's.
                await self._kill(connection.thread_id())
        finally:
            self._take_back(connection)

    async def _kill(self, session: int) -> None:
        """End a session that may still hold locks, or wait for one, although nobody listens to it any more."""
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                killer = await self._connect()
                try:
                    cursor = await killer.cursor()
                    await cursor.execute(
                        f"KILL {session:d}"
                    )  # MySQL 9 no longer knows the protocol's own command
                finally:
                    await _say_goodbye(killer)
        except Exception as error:  # noqa: BLE001  # gone already, or no server: then it holds nothing
            logger.debug("session not killed", session=session, error=str(error))

    async def _outlive_cancellation(self, clean_up: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(clean_up)
        self._clean_ups.add(task)
        task.add_done_callback(self._clean_ups.discard)
        await asyncio.shield(task)


def is_lost(connection: aiomysql.Connection) -> bool:
    """Whether either side has ended it, by what is known without asking."""
    if connection.closed:
        return True
    reader, transport = connection._reader, connection._writer.transport  # noqa: SLF001  # nobody else can tell
    return bool(reader.eof_received or reader.exception() or transport.is_closing())


def _options(settings: Settings) -> dict[str, Any]:
    url = urlsplit(settings.mysql_url)
    return {
        "host": url.hostname,
        "port": url.port or DEFAULT_PORT,
        "user": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "db": unquote(url.path.strip("/")),
        "charset": "utf8mb4",
        "autocommit": True,
        "program_name": "lockstep",
        "init_command": (
            f"SET SESSION innodb_lock_wait_timeout = {settings.lock_wait_seconds},"
            f" lock_wait_timeout = {settings.lock_wait_seconds},"
            # Without backslashes a string is quoted by doubling its quotes: a tenth of the work for a batch in JSON.
            " sql_mode = 'TRADITIONAL,NO_BACKSLASH_ESCAPES', time_zone = '+00:00',"
            f" group_concat_max_len = {MAX_AGGREGATE_BYTES},"
            # A frozen worker, or one behind a dead network, must not keep its locks for the server's eight hours.
            f" wait_timeout = {max(IDLE_SECONDS, 2 * settings.job_seconds)}"
        ),
    }


async def _rolled_back(connection: aiomysql.Connection) -> bool:
    try:
        async with asyncio.timeout(CLEAN_UP_SECONDS):
            await connection.rollback()
    except Exception:  # noqa: BLE001  # whatever it is, this connection is of no more use
        return False
    return True


async def _say_goodbye(connection: aiomysql.Connection) -> None:
    with suppress(
        OSError, RuntimeError
    ):  # the server is gone, and with it the session (uvloop: RuntimeError)
        await connection.ensure_closed()
    connection.close()  # aiomysql leaves it open where it could not say so
