"""Passwords and orders are not shown: not by ps, repr, messages or logs."""

import re
import subprocess
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest
from pydantic import ValidationError

from tests.asking import until
from tests.end_to_end.conftest import StartWorker
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.shop import an_order
from worker.client import OrderClient
from worker.database import migrations
from worker.embedded import Servers, running_servers
from worker.errors import LockstepError
from worker.queue.connection import redis_settings
from worker.settings import Settings

SECRET = "s3cr3t"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps."""
    return environment | PATIENT_VARIABLES


def passwords(servers: Servers) -> set[str]:
    urls = servers.mysql_url, servers.redis_url, servers.migration_url
    return {password for url in urls if (password := urlsplit(url).password)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def private(folder: Path) -> Iterator[Servers]:
    """Private servers for all of these tests, with the tables."""
    with running_servers(folder) as servers:
        migrations.migrate(servers.migration_url)
        yield servers


async def test_no_program_has_a_password_in_its_arguments(
    folder: Path, private: Servers, start_worker: StartWorker
) -> None:
    worker = start_worker(mysql_url=private.mysql_url, redis_url=private.redis_url)

    async def started() -> bool:
        return b"started" in worker.log.read_bytes()

    await until(started, "the worker to start")
    seen = subprocess.run(["ps", "-wwAo", "args="], capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221
    await worker.terminate()
    assert str(folder) in seen
    assert len(passwords(private)) == 2
    assert not [password for password in passwords(private) if password in seen]


def test_dbmate_is_told_the_password_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append((command, options["env"]["DATABASE_URL"]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    migrations.migrate(f"mysql://u:{SECRET}@host/db")
    ((command, url),) = calls
    assert SECRET not in str(command)
    assert SECRET in url


@pytest.mark.parametrize(
    "url",
    ["mysql://u:{}%zz@127.0.0.1:1/db", "mysql://u:{}@127.0.0.1:1/d%zb", "mysql://u:{} x@127.0.0.1:1/db"],
)
def test_dbmate_complains_about_a_url_without_its_password(url: str) -> None:
    with pytest.raises(LockstepError) as raised:
        migrations.migrate(url.format(SECRET))
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_nothing_that_holds_a_url_prints_its_password() -> None:
    mysql, redis = f"mysql://u:{SECRET}@localhost/db", f"redis://:{SECRET}@localhost/0"
    settings = Settings(mysql_url=mysql, migration_url=mysql, redis_url=redis)
    for holder in (settings, Servers(mysql, redis, mysql), redis_settings(redis)):
        assert SECRET not in f"{holder!r} {holder}"
    with pytest.raises(ValidationError) as raised:
        Settings(mysql_url=f"postgresql://u:{SECRET}@localhost/db", redis_url=redis)
    assert SECRET not in str(raised.value)


@contextmanager
def no_outbox(mysql_url: str) -> Iterator[None]:
    """The table is away meanwhile."""
    url = urlsplit(mysql_url)
    with pymysql.connect(
        host=url.hostname, port=url.port or 0, user=url.username, password=url.password
    ) as owner:
        owner.cursor().execute("RENAME TABLE lockstep.outbox TO lockstep.outbox_away")
        try:
            yield
        finally:
            owner.cursor().execute("RENAME TABLE lockstep.outbox_away TO lockstep.outbox")


async def test_the_log_of_a_worker_that_meets_a_bug_holds_no_password_and_no_order(
    private: Servers, start_worker: StartWorker
) -> None:
    """At the finest level, with the traceback of what it takes for a bug."""
    worker = start_worker(mysql_url=private.mysql_url, redis_url=private.redis_url, log_level="debug")

    async def started() -> bool:
        return b'"started"' in worker.log.read_bytes()

    await until(started, "the worker to start")
    with no_outbox(private.migration_url):
        async with OrderClient.connect(private.redis_url) as client:
            await client.place(an_order({1095275: 4711}, customer_id=8_675_309))

            async def complained() -> bool:
                return b'"bug"' in worker.log.read_bytes()

            await until(complained, "the worker to complain")
        await worker.terminate()
    log = worker.log.read_text()
    assert "Traceback" in log
    assert not [secret for secret in passwords(private) if secret in log]
    # No part of a microsecond or an id, which may hold these digits by chance.
    assert not [
        part for part in ("1095275", "4711", "8675309") if re.search(rf"(?<![\w.:-]){part}(?![\w.])", log)
    ], "an order is nobody's business there"


def test_nobody_gets_into_the_private_servers_without_a_password(private: Servers) -> None:
    url = urlsplit(private.mysql_url)
    for user in ("root", "lockstep", "lockstep_owner", "anybody"):
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            pymysql.connect(host=url.hostname, port=url.port or 0, user=user)
