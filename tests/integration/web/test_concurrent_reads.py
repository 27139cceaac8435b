"""How a page is read: all at once, given up together, and without harm where a server is away or busy."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.asking import Session, until
from tests.integration.conftest import Looked
from tests.integration.web.conftest import Client, problem
from tests.lab.traps.redis_door import Door
from tests.shop import open_shop
from worker.database.transactions import Database
from worker.settings import Settings
from worker.web.application import make_application
from worker.web.servers import DATABASE


@asynccontextmanager
async def serving(settings: Settings, **changed: object) -> AsyncIterator[Client]:
    application = make_application(settings.model_copy(update=changed), is_open=True)
    async with TestClient(TestServer(application)) as client:
        yield client


@contextmanager
def in_haste(client: Client, settings: Settings) -> Iterator[None]:
    """No connection is waited for; to make one may take as long as it does before and after."""
    connections = client.app[DATABASE]._connections
    connections._settings = settings.model_copy(update={"connection_seconds": 0.1})
    try:
        yield
    finally:
        connections._settings = settings


async def status(client: Client, path: str) -> int:
    async with client.get(path) as response:
        await response.read()
        return response.status


async def waiting(session: Session) -> int:
    """How many statements of this database wait for a table that is locked."""
    rows = await session.run("SHOW PROCESSLIST")
    return sum(row["db"] == session.database and "metadata lock" in (row["State"] or "") for row in rows)


async def until_waiting(session: Session, count: int) -> None:
    async def enough() -> bool:
        return await waiting(session) == count

    await until(enough, f"{count} statements to wait for a table")


async def test_the_three_reads_of_a_page_run_at_the_same_time(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    await open_shop(database, {1: 5})
    async with serving(settings) as client:
        await session.run("LOCK TABLES products WRITE, orders WRITE")
        reading = asyncio.create_task(status(client, "/product/1/1"))
        await until_waiting(other_session, 3)
        await session.run("UNLOCK TABLES")
        assert await reading == 200


@pytest.mark.parametrize(("path", "waits"), [("/product/9/1", "orders"), ("/product/1/99", "reviews")])
async def test_the_first_read_that_fails_ends_the_others(
    path: str, waits: str, settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """The page is answered while they could not be; and nothing of them stays on the server."""
    await open_shop(database, {1: 5})
    async with serving(settings) as client:
        await session.run(f"LOCK TABLES {waits} WRITE")
        async with client.get(path) as response:
            assert response.status == 404
            await problem(response)
        await until_waiting(other_session, 0)
        await session.run("UNLOCK TABLES")
        assert await status(client, "/product/1/1") == 200


@pytest.mark.parametrize("path", ["/product/1/1", "/product/1", "/products", "/customer/1/orders"])
async def test_who_gets_no_connection_in_time_is_told_when_to_come_again(
    path: str, settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    await open_shop(database, {1: 5})
    async with serving(settings, mysql_connections=1) as client:
        await session.run("LOCK TABLES products WRITE")
        holding = asyncio.create_task(status(client, "/products"))
        await until_waiting(other_session, 1)
        with in_haste(client, settings):
            async with client.get(path) as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) >= 1
                await problem(response)
        await session.run("UNLOCK TABLES")
        assert await holding == 200
        assert await status(client, path) == 200


async def test_pages_need_one_connection_and_no_more_to_come_through(
    settings: Settings, database: Database
) -> None:
    """Nobody holds one and waits for another: fifty pages share one connection."""
    await open_shop(database, {1: 5})
    async with serving(settings, mysql_connections=1) as client:
        assert set(await asyncio.gather(*(status(client, "/product/1/1") for _ in range(50)))) == {200}


async def test_a_hundred_who_want_one_product_cost_one_load_of_it(
    settings: Settings, database: Database, looked: Looked
) -> None:
    await open_shop(database, {1: 5})
    async with serving(settings) as client:
        assert set(await asyncio.gather(*(status(client, "/product/1") for _ in range(100)))) == {200}
    assert (looked()["product:miss"], looked()["reviews:miss"]) == (1, 1)
    assert sum(looked().values()) == 200


async def test_the_storefront_works_without_redis(settings: Settings, database: Database) -> None:
    """At the start, while it is there, and when it has gone again."""
    await open_shop(database, {1: 5})
    door = Door(settings.redis_url)
    async with door.stand() as url:
        await door.shut()
        async with serving(settings, redis_url=url) as client:
            for change in (door.shut, door.open, door.shut):
                await change()
                for path in ("/product/1/1", "/product/1", "/products", "/customer/1/orders"):
                    assert await status(client, path) == 200
