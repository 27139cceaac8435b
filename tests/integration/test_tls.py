"""TLS to both servers: the authority that the URL names, that one alone, and the host name."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from arq.connections import RedisSettings, create_pool
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.transaction import Statement
from tests.asking import PATIENCE_SECONDS, PATIENT
from tests.forked import Program, Start
from tests.integration.patience import ENVIRONMENT
from tests.integration.tls_servers import TlsServers, tls_servers
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.migrations import check_ready, migrate
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.queue.connection import redis_settings
from worker.settings import Settings

CIPHER = Statement("cipher", "SHOW SESSION STATUS LIKE 'Ssl_cipher'")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServers]:
    with tls_servers(tmp_path_factory.mktemp("with spaces")) as running:
        yield running


def asking(url: str, authority: Path, host: str = "127.0.0.1") -> str:
    return f"{url.replace('127.0.0.1', host)}?tls={quote(str(authority))}"


def settings(tls: TlsServers, authority: Path, host: str = "127.0.0.1") -> Settings:
    return Settings(
        mysql_url=asking(tls.servers.mysql_url, authority, host),
        redis_url=asking(tls.redis_url, authority, host),
        **PATIENT,
    )


def patiently(settings: RedisSettings) -> RedisSettings:
    return replace(settings, conn_timeout=PATIENCE_SECONDS)


async def test_the_right_authority_connects_to_the_database(tls: TlsServers) -> None:
    migrate(asking(tls.servers.migration_url, tls.right))
    async with Database(settings(tls, tls.right)) as database:
        await check_ready(database)
        ((row),) = await database.fetch(CIPHER, {})
        assert row["Value"]


@pytest.mark.parametrize(
    ("authority", "host", "complaint"),
    [
        ("wrong", "127.0.0.1", "certificate verify failed"),
        ("right", "localhost", "Hostname mismatch"),
    ],
)
async def test_a_database_that_is_not_vouched_for_is_refused(
    tls: TlsServers, authority: str, host: str, complaint: str
) -> None:
    named: Path = getattr(tls, authority)
    async with Database(settings(tls, named, host)) as database:
        with pytest.raises(LockstepError, match=f"MySQL is not trusted: .*{complaint}.*check the host name"):
            await check_ready(database)
    with pytest.raises(LockstepError, match=r"could not be brought up to date.*certificate"):
        await asyncio.to_thread(migrate, asking(tls.servers.migration_url, named, host))


async def test_a_database_without_tls_gets_no_password(tls: TlsServers) -> None:
    """What poses as the server may say that it has no TLS, and ask for the password in the clear."""
    received = bytearray()
    no_tls = (
        b"\x0a5.5.5-10.11\x00" + bytes(4) + b"12345678\x00" + b"\x00\x82\x2d\x02\x00\x08\x00\x15" + bytes(10)
    )
    no_tls += b"123456789012\x00mysql_clear_password\x00"

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(len(no_tls).to_bytes(3, "little") + b"\x00" + no_tls)
        received.extend(await reader.read())
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"mysql://lockstep:secret@127.0.0.1:{port}/lockstep?tls={quote(str(tls.right))}"
        async with Database(Settings(mysql_url=url, redis_url="redis://localhost", **PATIENT)) as database:
            with pytest.raises(DatabaseError, match="the server has no TLS"):
                await database.fetch(CIPHER, {})
    assert not received


async def test_the_right_authority_connects_to_redis(tls: TlsServers) -> None:
    url = asking(tls.redis_url, tls.right)
    async with OrderClient.connect(url) as client:
        assert await client.queued() == 0
    redis = await create_pool(patiently(redis_settings(url)))  # as `arq --check` does
    assert await redis.ping()
    await redis.aclose()


async def test_a_worker_places_orders_over_tls(tls: TlsServers, tmp_path: Path) -> None:
    used = settings(tls, tls.right)
    migrate(asking(tls.servers.migration_url, tls.right))
    log = tmp_path / "worker.log"
    urls = {"LOCKSTEP_MYSQL_URL": used.mysql_url, "LOCKSTEP_REDIS_URL": used.redis_url, **ENVIRONMENT}
    worker = Program(Start(("worker", "worker"), os.environ | urls, log, log))
    try:
        async with Database(used) as database, OrderClient.connect(used.redis_url) as client:
            await open_shop(database, {1: 5})
            receipt = await client.place(an_order({1: 1}))
            assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed", log.read_text()
    finally:
        worker.terminate()
        assert await asyncio.to_thread(worker.wait) == 0
    assert "warning" not in log.read_text()


@pytest.mark.parametrize(
    ("authority", "host", "complaint"),
    [
        ("wrong", "127.0.0.1", "unable to get local issuer"),
        ("right", "localhost", "Hostname mismatch"),
    ],
)
async def test_a_redis_that_is_not_vouched_for_is_refused(
    tls: TlsServers, authority: str, host: str, complaint: str
) -> None:
    url = asking(tls.redis_url, getattr(tls, authority), host)
    with pytest.raises(LockstepError, match=f"is not trusted .*{complaint}.*check host name") as raised:
        async with OrderClient.connect(url):
            pass
    assert str(urlsplit(url).password) not in str(raised.value)
    with pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        await create_pool(patiently(redis_settings(url)))


async def test_the_authorities_of_the_system_do_not_know_a_private_one(tls: TlsServers) -> None:
    with pytest.raises(LockstepError, match="is not trusted"):
        async with OrderClient.connect(tls.redis_url):
            pass
    async with Database(
        Settings(mysql_url=f"{tls.servers.mysql_url}?tls=system", redis_url=tls.redis_url, **PATIENT)
    ) as database:
        with pytest.raises(LockstepError, match="MySQL is not trusted"):
            await check_ready(database)
    with pytest.raises(LockstepError, match=r"could not be brought up to date.*certificate"):
        await asyncio.to_thread(migrate, f"{tls.servers.migration_url}?tls=system")
