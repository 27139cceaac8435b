"""Who comes in: with a key, and, where the door is for this machine, without one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner, Result

from tests.asking import Session, until
from tests.integration.patience import ENVIRONMENT
from tests.integration.staging import staged_count
from tests.integration.web.conftest import Client, body, problem
from tests.shop import an_order
from worker import cli
from worker.settings import Settings
from worker.web import authentication
from worker.web.application import make_application

Lockstep = Callable[..., Awaitable[Result]]
ID: Final = UUID(int=7)
GUARDED: Final = [
    ("POST", "/orders"),
    ("GET", f"/orders/{ID}"),
    ("POST", f"/orders/{ID}/cancel"),
    ("POST", f"/orders/{ID}/ship"),
]


@pytest.fixture
def lockstep(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lockstep:
    """Run a command; its result."""
    monkeypatch.setenv("LOCKSTEP_MYSQL_URL", settings.mysql_url)
    monkeypatch.setenv("LOCKSTEP_REDIS_URL", settings.redis_url)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli.main, arguments)

    return run


@pytest.fixture
async def locked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client that needs a key; the application looks at the table each time."""
    monkeypatch.setattr(authentication, "KEYS_SECONDS", 0.0)
    async with TestClient(TestServer(make_application(settings))) as opened:
        yield opened


async def made(lockstep: Lockstep, name: str) -> dict[str, str]:
    """The header that shows a new key."""
    done = await lockstep("keys", "add", name)
    assert done.exit_code == 0, done.output
    return {"Authorization": f"Bearer {done.stdout.strip()}"}


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_while_nobody_has_a_key_the_door_is_closed_and_says_how_to_open_it(
    method: str, path: str, locked: Client
) -> None:
    async with locked.request(method, path, headers={"Authorization": "Bearer x"}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert "`lockstep keys add NAME`" in (await problem(response))["detail"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_key_nothing_is_read_or_written(
    method: str, path: str, locked: Client, lockstep: Lockstep, session: Session
) -> None:
    shown = await made(lockstep, "shop")
    for headers in (
        {},
        {"Authorization": shown["Authorization"].removeprefix("Bearer ")},
        {"Authorization": shown["Authorization"].replace("Bearer", "Basic")},
        {"Authorization": shown["Authorization"][:-1]},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \u00e9\ud800"},
    ):
        async with locked.request(method, path, json=body(an_order({1: 1})), headers=headers) as response:
            assert response.status == 401, headers
            await problem(response)
    assert not await staged_count(session)


async def test_who_shows_a_key_comes_in(locked: Client, lockstep: Lockstep, session: Session) -> None:
    shown = await made(lockstep, "shop")
    for headers in (shown, {"authorization": shown["Authorization"].replace("Bearer ", "bearer  ")}):
        async with locked.post("/orders", json=body(an_order({1: 1})), headers=headers) as response:
            assert response.status == 202
    assert await staged_count(session) == 2


async def test_the_table_keeps_no_key_and_the_day_of_its_last_use(
    locked: Client, lockstep: Lockstep, session: Session
) -> None:
    shown = await made(lockstep, "shop")
    assert await session.value("SELECT last_used_on FROM api_keys") is None
    for _ in range(2):
        async with locked.get(f"/orders/{ID}", headers=shown) as response:
            assert response.status == 404
    (row,) = await session.run("SELECT api_keys.*, UTC_DATE() AS today FROM api_keys")
    assert row["last_used_on"] == row["today"]
    assert shown["Authorization"].removeprefix("Bearer ") not in str(row)
    assert len(row["key_hash"]) == 32


async def test_a_day_that_is_known_is_not_written_again(
    locked: Client, lockstep: Lockstep, session: Session
) -> None:
    shown = await made(lockstep, "shop")
    await session.run("UPDATE api_keys SET last_used_on = '9999-01-01'")
    async with locked.get(f"/orders/{ID}", headers=shown) as response:
        assert response.status == 404
    assert str(await session.value("SELECT last_used_on FROM api_keys")) == "9999-01-01"


async def test_a_revoked_key_does_not_open_and_the_others_still_do(
    locked: Client, lockstep: Lockstep
) -> None:
    first, second = await made(lockstep, "first"), await made(lockstep, "second")
    assert (await lockstep("keys", "revoke", "first")).output == "first is revoked\n"
    for headers, status in ((first, 401), (second, 404)):
        async with locked.get(f"/orders/{ID}", headers=headers) as response:
            assert response.status == status


async def test_the_table_is_not_read_for_each_request(
    settings: Settings, lockstep: Lockstep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "KEYS_SECONDS", 1000.0)
    shown = await made(lockstep, "shop")
    async with TestClient(TestServer(make_application(settings))) as locked:
        for _ in range(2):  # the first writes the day
            async with locked.get(f"/orders/{ID}", headers=shown) as response:
                assert response.status == 404
        await lockstep("keys", "revoke", "shop")
        async with locked.get(f"/orders/{ID}", headers=shown) as response:
            assert response.status == 404


async def test_a_revoked_key_is_refused_within_seconds(settings: Settings, lockstep: Lockstep) -> None:
    shown = await made(lockstep, "shop")
    async with TestClient(TestServer(make_application(settings))) as locked:
        async with locked.get(f"/orders/{ID}", headers=shown) as response:
            assert response.status == 404
        await lockstep("keys", "revoke", "shop")

        async def refused() -> bool:
            async with locked.get(f"/orders/{ID}", headers=shown) as response:
                return response.status == 401

        await until(refused, "the key to be refused")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, 202),
        ({"Host": "127.0.0.2"}, 202),
        ({"Host": "[::1]:8080"}, 202),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:8080", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
    ],
)
async def test_on_this_machine_no_other_site_comes_in(
    headers: dict[str, str], status: int, door: Client
) -> None:
    async with door.post("/orders", json=body(an_order({1: 1})), headers=headers) as response:
        assert response.status == status
        if status == 403:
            await problem(response)


async def test_a_link_on_another_site_leads_to_a_page_and_no_program_of_it_reads_one(door: Client) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    for more, status in (
        ({"Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Dest": "empty"}, 403),
        ({}, 403),
    ):
        async with door.get("/metrics", headers=elsewhere | more) as response:
            assert response.status == status
    sent = elsewhere | {"Sec-Fetch-Dest": "document"}
    async with door.post("/orders", json=body(an_order({1: 1})), headers=sent) as response:
        assert response.status == 403


async def test_keys_are_listed_without_themselves(
    lockstep: Lockstep, locked: Client, session: Session
) -> None:
    assert "there are no keys" in (await lockstep("keys", "list")).output
    shown = await made(lockstep, "shop-1")
    await made(lockstep, "old")
    await session.run(
        "UPDATE api_keys SET created_at = '2026-01-31', revoked_at = '2026-02-01' WHERE name = 'old'"
    )
    async with locked.get(f"/orders/{ID}", headers=shown) as response:
        assert response.status == 404
    today = str(await session.value("SELECT UTC_DATE()"))
    rows: list[dict[str, Any]] = json.loads((await lockstep("keys", "list", "--json")).output)
    assert rows == [
        {"name": "old", "made on": "2026-01-31", "last used on": None, "revoked on": "2026-02-01"},
        {"name": "shop-1", "made on": today, "last used on": today, "revoked on": None},
    ]
    listed = (await lockstep("keys", "list")).output
    assert "shop-1" in listed
    assert shown["Authorization"].removeprefix("Bearer ") not in listed


async def test_what_keys_cannot_do_is_told_in_one_sentence(lockstep: Lockstep) -> None:
    await made(lockstep, "shop")
    await lockstep("keys", "revoke", "shop")
    for arguments, said in [
        (["add", "shop"], "shop has a key, or had one: take another name."),
        (["add", "my shop\x1b"], "'my shop?' is no name"),
        (["add", ""], "is no name"),
        (["revoke", "shop"], "shop has no key that could be revoked"),
        (["revoke", "nobody"], "nobody has no key that could be revoked"),
    ]:
        done = await lockstep("keys", *arguments)
        assert done.exit_code == 1
        assert said in done.output
