"""The servers of the suite: private ones, or those of LOCKSTEP_TEST_MYSQL_URL and LOCKSTEP_TEST_REDIS_URL."""

import asyncio
import gc
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import hypothesis
import pytest
import structlog
import uvloop
from arq.connections import ArqRedis
from redis import Redis

from tests.asking import PATIENT, Session, open_session, owner_url
from tests.suite.sample import size
from worker.addresses import without_password
from worker.client import OrderClient
from worker.database.migrations import migrate
from worker.database.transactions import Database
from worker.embedded import Servers, running_servers
from worker.queue.connection import open_queue
from worker.settings import Settings

pytest_plugins = ("tests.suite.selection", "tests.suite.deadline", "tests.suite.load")
MakeClient = Callable[[int], OrderClient]
MYSQL: Final = os.environ.get("LOCKSTEP_TEST_MYSQL_URL")
REDIS: Final = os.environ.get("LOCKSTEP_TEST_REDIS_URL")
# Its limits of time are those of a fast machine.
hypothesis.settings.register_profile(
    "slow machine",
    deadline=None,
    max_examples=size(25, 100),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("slow machine")
# A traceback by rich, with every variable, holds up the event loop for longer than Redis has to answer.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)
FOLDER: Final = Path(".lockstep") / f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
PROCESSES: Final = 4  # of `make test`: tests wait more than they work
RIGHTS: Final = "SELECT, INSERT, UPDATE, DELETE"  # as sql/accounts/grants.sql
TABLES: Final = (
    "api_keys",
    "intake",
    "dead_letters",
    "purged_sales",
    "purged_totals",
    "outbox",
    "published_events",
    "restocks",
    "reviews",
    "order_lines",
    "orders",
    "stock",
    "products",
    "customers",
)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that workers run on; it differs from asyncio's where a connection breaks."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not look at it, and at the rest as seldom as in a worker."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_xdist_auto_num_workers() -> int:
    """As many as can have servers of their own."""
    return PROCESSES if MYSQL is None and REDIS is None else 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what touches a private MariaDB with innodb_snapshot_isolation on, and what is about transactions without it too."""
    if "snapshot_isolation" in metafunc.fixturenames:
        private = MYSQL is None and shutil.which("mariadbd", path="/usr/sbin:" + os.environ["PATH"])
        both = metafunc.definition.get_closest_marker("both_isolations")
        levels = (["OFF", "ON"] if both else ["ON"]) if private else [None]
        metafunc.parametrize("snapshot_isolation", levels, indirect=True, scope="session")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A database of this run's own, and an empty Redis."""
    with ExitStack() as stack:
        if MYSQL is None or REDIS is None:
            private = stack.enter_context(running_servers(FOLDER, fresh=True))
        name = f"lockstep_test_{uuid4().hex[:8]}"
        owner = _of(name, MYSQL or private.migration_url)
        worker = _of(name, MYSQL or private.mysql_url)
        redis = REDIS or private.redis_url
        with Redis.from_url(redis) as connection:
            if connection.dbsize():
                pytest.exit(
                    f"the tests need an empty Redis database, and {without_password(redis)} holds keys",
                    returncode=3,
                )
        if MYSQL is None:  # the worker's rights, on all databases that tests make
            _run(owner, f"GRANT {RIGHTS} ON `lockstep\\_test\\_%`.* TO lockstep@127.0.0.1")
        migrate(owner)
        yield Servers(worker, redis, owner)
        _run(owner, f"DROP DATABASE {name}")


def _of(database: str, mysql_url: str) -> str:
    return urlsplit(mysql_url)._replace(path=f"/{database}").geturl()


def _run(mysql_url: str, sql: str) -> None:
    import pymysql  # noqa: PLC0415  # only here

    url = urlsplit(mysql_url)
    connection = pymysql.connect(
        host=url.hostname, port=url.port or 3306, user=url.username, password=url.password or ""
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture(scope="session")
async def snapshot_isolation(servers: Servers, request: pytest.FixtureRequest) -> str | None:
    """Set it for every new session of the private server; None leaves a server as it is."""
    level: str | None = request.param
    if level:
        async with open_session(servers.migration_url) as session:
            await session.run(f"SET GLOBAL innodb_snapshot_isolation = {level}")
    return level


@pytest.fixture
async def settings(servers: Servers, snapshot_isolation: str | None, redis: ArqRedis) -> Settings:
    """Settings on empty tables and an empty queue, with limits that a slow machine keeps."""
    async with open_session(servers.migration_url) as session:
        for table in TABLES:
            await session.run(f"DELETE FROM {table}")
    await redis.flushdb()
    return Settings(
        mysql_url=servers.mysql_url,
        migration_url=servers.migration_url,
        redis_url=servers.redis_url,
        **PATIENT,
    )


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[ArqRedis]:
    """The queue's own connection pool."""
    connection = await open_queue(servers.redis_url, "arq:queue")
    yield connection
    await connection.flushdb()
    await connection.aclose()


@pytest.fixture
async def make_client(redis: ArqRedis) -> AsyncIterator[MakeClient]:
    """Clients on that pool, which must not use it once it is closed: nobody would close what they open."""
    clients: list[OrderClient] = []

    def make(max_queued: int) -> OrderClient:
        clients.append(OrderClient(redis, max_queued=max_queued))
        return clients[-1]

    yield make
    for client in clients:
        await client.stop()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The production pool and transactions."""
    async with Database(settings) as opened:
        yield opened


@pytest.fixture
async def session(settings: Settings) -> AsyncIterator[Session]:
    """A session of the test's own, in autocommit until it says BEGIN."""
    async with open_session(owner_url(settings)) as opened:
        yield opened


@pytest.fixture
async def other_session(settings: Settings) -> AsyncIterator[Session]:
    """Another one."""
    async with open_session(owner_url(settings)) as opened:
        yield opened


def pytest_addoption(parser: pytest.Parser) -> None:
    """The lab's own option; it can only be declared here."""
    parser.addoption("--record", action="store_true", help="write what the lab sees as what it expects")
