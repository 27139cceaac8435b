"""Connections to Redis: what they do when it goes away, or says nothing any more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ssl import SSLContext
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import structlog
from arq.connections import ArqRedis, RedisSettings
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.addresses import SYSTEM, authority, distrust, tls_context, without_password, without_query
from worker.errors import LockstepError
from worker.queue.wire import EXPIRES_MS, deserialize, is_full, serialize

logger = structlog.get_logger()

CONNECT_SECONDS: Final = 1
ANSWER_SECONDS: Final = (
    5  # for one command; a connection that dies without a word must not be waited for for ever
)
# What a server says that is not the master (any more). redis-py takes it for an answer like others.
REPLICA: Final = ("read only replica", "UNBLOCKED", "MASTERDOWN")
T = TypeVar("T")


class _Impatient(AbstractConnection):
    """Gives up a command that is not answered, and connects until the server has greeted it.

    redis-py's own `socket_timeout` waits with asyncio.wait_for, which under Python 3.11 can swallow a cancellation.
    """

    async def connect(self) -> None:
        """With its handshake, which redis-py would not try again."""
        await self.retry.call_with_retry(super().connect, lambda _: self.disconnect())

    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # as redis-py asks
        async with _limit():
            await super().send_packed_command(*arguments, **options)

    async def read_response(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        try:
            async with _limit():
                return await super().read_response(*arguments, **options)
        except ResponseError as error:
            if not _is_replica(error):
                raise
            await self.disconnect(nowait=True)  # a new one may lead to the master
            raise RedisConnectionError(str(error)) from error


class _Tls(SSLConnection):
    """TLS with the authorities that the URL names: redis-py would trust those of the system besides."""

    def __init__(self, *, tls: SSLContext, **options: Any) -> None:  # noqa: ANN401  # redis-py's own
        super().__init__(**options)
        self.ssl_context.context = tls


@asynccontextmanager
async def _limit() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except TimeoutError as error:
        raise RedisTimeoutError(f"no answer within {ANSWER_SECONDS} s") from error


class _OneRound(Retry):
    """Each try of a command connects once: redis-py would go through all retries inside each of them."""

    _running = False  # a connection, whose own copy this is, has one command at a time

    async def call_with_retry(self, do: Callable[[], Awaitable[T]], fail: Callable[[RedisError], Any]) -> T:
        if self._running:
            return await do()
        self._running = True
        try:
            return await super().call_with_retry(do, partial(_give_up_what_is_refused, fail))
        finally:
            self._running = False


async def _give_up_what_is_refused(fail: Callable[[RedisError], Any], error: RedisError) -> None:
    await fail(error)
    if isinstance(error, AuthenticationError) or distrust(error):
        raise error


def connection_pool(url: str, *, retries: int) -> ConnectionPool:
    """Connects when it is first used; 15 retries outlast a restart of Redis of about ten seconds."""
    tls = tls_context(url)
    pool = ConnectionPool.from_url(
        without_query(url) if tls else url,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=_OneRound(ExponentialBackoff(cap=1.0, base=0.05), retries=retries),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, ConnectionError],
        retry_on_timeout=True,
    )
    kind = pool.connection_class  # by TCP or a file
    if tls:
        kind, pool.connection_kwargs["tls"] = _Tls, tls
    pool.connection_class = type("Connection", (_Impatient, kind), {})
    return pool


class _Settings(RedisSettings):
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.host}:{self.port}>"  # arq's own prints the password


def redis_settings(url: str) -> RedisSettings:
    """For arq's own connections, which try once."""
    named = authority(url)
    return replace(
        _Settings(**vars(RedisSettings.from_dsn(url))),
        ssl_ca_certs=None if named == SYSTEM else named,
        ssl_check_hostname=True,
        username=unquote(urlsplit(url).username or "") or None,
        password=unquote(urlsplit(url).password or "") or None,
        conn_retries=0,
    )


async def warn_of_eviction(redis: ArqRedis) -> None:
    """Say so where Redis may drop jobs to make room for others."""
    policy = (await redis.info("memory")).get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        logger.warning(
            "redis may drop orders: set its maxmemory-policy to noeviction", maxmemory_policy=policy
        )


def queue_at(url: str, queue_name: str) -> ArqRedis:
    """A connection pool to the queue, which connects when it is first used."""
    redis = ArqRedis(
        connection_pool(url, retries=3),
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=queue_name,
        expires_extra_ms=EXPIRES_MS,
    )
    redis.auto_close_connection_pool = True
    return redis


async def open_queue(url: str, queue_name: str) -> ArqRedis:
    """The same, connected. Raises LockstepError where Redis does not answer."""
    try:
        redis = queue_at(url, queue_name)
        await redis.ping()
    except (RedisError, OSError, ValueError) as error:
        raise LockstepError(what_is_wrong(error, url)) from error
    return redis


def what_is_wrong(error: BaseException, url: str) -> str:
    """An error of Redis as one sentence that says what to do."""
    at = without_password(without_query(url))
    if isinstance(error, AuthenticationError):
        return f"Redis at {at} refuses this user or password ({error}): check them in the URL."
    if untrusted := distrust(error):
        return f"Redis at {at} is not trusted ({untrusted.verify_message or untrusted}): check host name and authority."
    if is_full(error):
        return f"Redis at {at} has no memory left: raise its maxmemory; the orders that it holds stay there."
    if _is_replica(error):
        return f"Redis at {at} is a replica: the URL must lead to its master; the orders that it holds stay there."
    return f"Redis does not answer at {at} ({error}); is it running?"


def _is_replica(error: BaseException) -> bool:
    return any(words in str(error) for words in REPLICA)
