"""The user of Redis in SECURITY.md, as an administrator makes it: it is enough for a worker, with its turns."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from arq.connections import ArqRedis

from tests.asking import PATIENCE_SECONDS, PATIENT, until
from tests.end_to_end.conftest import StartWorker
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.settings import Settings

SECURITY: Final = Path(__file__).resolve().parents[2] / "SECURITY.md"
STATEMENT: Final = re.compile(r"^ACL SETUSER lockstep (.*)$", re.MULTILINE)


@pytest.fixture
async def user_url(settings: Settings, redis: ArqRedis) -> AsyncIterator[str]:
    """The URL with the user's name and password."""
    (rules,) = STATEMENT.findall(SECURITY.read_text(encoding="utf-8"))
    name, password = f"lockstep_test_{uuid4().hex[:8]}", uuid4().hex
    words = rules.replace(">PASSWORD", f">{password}").split()
    execute: Any = redis.execute_command  # it has no types
    await execute("ACL", "SETUSER", name, *words)
    url = urlsplit(settings.redis_url)
    yield url._replace(netloc=f"{name}:{password}@{url.netloc.rpartition('@')[2]}").geturl()
    await execute("ACL", "DELUSER", name)


async def test_the_user_of_redis_may_do_all_that_a_worker_and_a_client_do(
    user_url: str, database: Database, redis: ArqRedis, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    worker = start_worker(redis_url=user_url, **PATIENT)
    async with OrderClient.connect(user_url) as client:
        receipt = await client.place(an_order({1: 1}))
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    await until(lambda: redis.xlen("lockstep:events"), "the event to be published")
    assert await worker.terminate() == 0
    log = worker.log.read_text()
    assert "without turns" not in log
    assert "permission" not in log.lower()
