"""What whoever watches `lockstep web` is told."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.asking import Session, until
from tests.integration.web.conftest import Client, body, problem
from tests.shop import an_order
from worker import metrics
from worker.settings import Settings
from worker.web.application import make_application


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_server_that_is_well_says_so(path: str, settings: Settings) -> None:
    async with TestClient(TestServer(make_application(settings))) as client, client.get(path) as response:
        assert (response.status, await response.text()) == (200, "ok\n")


async def test_without_redis_it_is_ready_to_accept_orders(settings: Settings) -> None:
    changed = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with TestClient(TestServer(make_application(changed))) as client, client.get("/readyz") as response:
        assert response.status == 200


async def test_without_its_database_it_is_alive_and_not_ready(settings: Settings, session: Session) -> None:
    name = f"{session.database}_bare"
    await session.run(f"CREATE DATABASE {name}")
    for url in ("mysql://u:p@127.0.0.1:1/x", f"{settings.mysql_url.rpartition('/')[0]}/{name}"):
        changed = settings.model_copy(update={"mysql_url": url})
        async with TestClient(TestServer(make_application(changed))) as client:
            async with client.get("/readyz") as response:
                assert response.status == 503
                assert "database" in (await problem(response))["detail"]
            async with client.get("/healthz") as response:
                assert response.status == 200
    await session.run(f"DROP DATABASE {name}")


async def test_it_measures_how_late_its_event_loop_is(door: Client) -> None:
    def count() -> float:
        return metrics.LOOP_LAG_SECONDS.cumulative()[-1]

    before = count()

    async def measured() -> bool:
        return count() > before

    await until(measured, "the next tick")


async def test_what_it_has_counted_is_for_key_holders(door: Client, settings: Settings) -> None:
    await door.post("/orders", json=body(an_order({1: 1})))
    async with door.get("/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        assert "lockstep_" in await response.text()
    async with (
        TestClient(TestServer(make_application(settings))) as client,
        client.get("/metrics") as refused,
    ):
        assert refused.status == 401
