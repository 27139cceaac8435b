"""`lockstep web`, as a person runs it."""

import asyncio
import socket
import subprocess
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.asking import Session, until
from tests.end_to_end.conftest import StartWeb, StartWorker
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.forked import run
from tests.shop import an_order, open_shop
from worker.database.transactions import Database
from worker.settings import Settings


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps."""
    return environment | PATIENT_VARIABLES


def body(customer_id: int = 1) -> dict[str, object]:
    return an_order({1: 1}, customer_id=customer_id).model_dump(mode="json", exclude_none=True)


async def answered(browser: ClientSession, order: dict[str, object], headers: dict[str, str]) -> Any:
    """The outcome. While it cannot be had (503, or 202: it is accepted), the same order is sent again."""

    async def ask() -> Any:
        async with browser.post("/orders", json=order, headers=headers) as response:
            return await response.json() if response.status not in {202, 503} else None

    return await until(ask, "the order to have an outcome")


async def test_it_serves_key_holders_until_it_is_told_to_stop(
    start_web: StartWeb, start_worker: StartWorker, environment: dict[str, str], database: Database
) -> None:
    await open_shop(database, {1: 5})
    added = await run(environment, "worker", "keys", "add", "shop")
    assert added.returncode == 0, added.stderr
    assert "nobody can show it again" in added.stderr
    start_worker()
    web = await start_web()
    shown = {"Authorization": f"Bearer {added.stdout.strip()}", "Prefer": "wait=30"}
    async with ClientSession(web.url) as browser:
        async with browser.post("/orders", json=body()) as response:
            assert response.status == 401
        assert (await answered(browser, body(), shown))["status"] == "placed"
        assert await web.terminate() == 0
    assert b"Traceback" not in web.log.read_bytes()
    assert shown["Authorization"].split()[1].encode() not in web.log.read_bytes()


async def test_who_waits_when_it_is_stopped_is_told_that_the_order_is_accepted(
    start_web: StartWeb, session: Session
) -> None:
    web = await start_web("--open", stop_seconds=20)  # less than who waits would wait
    async with ClientSession(web.url) as browser:
        waiting = asyncio.create_task(browser.post("/orders", json=body(), headers={"Prefer": "wait=30"}))

        async def staged() -> bool:
            return bool(await session.value("SELECT COUNT(*) FROM intake"))

        await until(staged, "the order to be staged")
        web.process.terminate()
        response = await waiting
        assert response.status == 202
    assert await web.ended() == 0


async def test_a_port_that_is_taken_is_told_in_one_sentence(
    settings: Settings, environment: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = await lockstep_web(environment, "--port", port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr
    assert "name another with --port" in done.stderr
    assert "Traceback" not in done.stderr


async def test_without_the_tables_it_says_what_to_run(
    settings: Settings, environment: dict[str, str], session: Session
) -> None:
    await session.run("CREATE DATABASE lockstep_test_bare")
    bare = settings.mysql_url.rpartition("/")[0] + "/lockstep_test_bare"
    done = await lockstep_web(environment | {"LOCKSTEP_MYSQL_URL": bare})
    await session.run("DROP DATABASE lockstep_test_bare")
    assert done.returncode == 1
    assert "run `lockstep migrate`" in done.stderr


async def test_without_servers_it_starts_and_refuses_requests_for_now(start_web: StartWeb) -> None:
    web = await start_web(
        "--open", mysql_url="mysql://u:secret@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1/0"
    )
    async with ClientSession(web.url) as browser, browser.post("/orders", json=body()) as response:
        assert response.status == 503
    log = web.log.read_text()
    assert "requests are refused until it does" in log
    assert "secret" not in log


async def lockstep_web(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return await run(environment, "worker", "web", *options)
