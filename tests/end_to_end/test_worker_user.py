"""The two users of sql/accounts/grants.sql, as an administrator makes them: what they may do, and what not."""

import re
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from pymysql.err import OperationalError, ProgrammingError

from jobs.transaction import SQL
from tests.asking import PATIENCE_SECONDS, Session, open_session
from tests.end_to_end.conftest import StartWorker
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.end_to_end.test_commands import SAMPLES, lockstep
from tests.shop import an_order
from worker.client import OrderClient
from worker.settings import Settings

DENIED = {
    1044,
    1045,
    1142,
    1227,
    1370,
    1410,
    1419,
    1698,
}  # in all of which the server says that it is a matter of rights
FORBIDDEN = [
    "CREATE TABLE loot (id INT PRIMARY KEY)",
    "CREATE TEMPORARY TABLE loot (id INT PRIMARY KEY)",
    "CREATE VIEW loot AS SELECT * FROM orders",
    "CREATE TRIGGER loot BEFORE INSERT ON orders FOR EACH ROW SET @loot = 1",
    "CREATE FUNCTION loot() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE INDEX loot ON orders (status)",
    "ALTER TABLE orders ADD COLUMN loot INT",
    "DROP TABLE outbox",
    "TRUNCATE TABLE outbox",
    "RENAME TABLE outbox TO loot",
    "DROP DATABASE {database}",
    "CREATE DATABASE loot",
    "SELECT * FROM mysql.user",
    "SELECT * FROM mysql.global_priv",
    "SELECT * FROM mysql.db",
    "UPDATE mysql.user SET user = 'loot'",
    "CREATE USER loot",
    "GRANT SELECT ON {database}.* TO 'root'@'%'",
    "SET GLOBAL max_connections = 10",
    "SELECT * FROM orders INTO OUTFILE '/tmp/loot'",
    "LOAD DATA INFILE '/etc/passwd' INTO TABLE outbox",
    "SHOW ENGINE INNODB STATUS",
    "LOCK TABLES orders WRITE",
    "SHUTDOWN",
]
RIGHTS = {"SELECT", "INSERT", "UPDATE", "DELETE"}


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps."""
    return environment | PATIENT_VARIABLES


class Users(NamedTuple):
    """URLs of a database of their own."""

    owner: str
    worker: str


@pytest.fixture
async def users(settings: Settings, session: Session) -> AsyncIterator[Users]:
    database = f"lockstep_test_{uuid4().hex[:8]}"
    owner, worker, password = f"{database[-8:]}_owner", f"{database[-8:]}_worker", "P-" + uuid4().hex
    script = re.sub(r"--.*", "", (SQL / "accounts" / "grants.sql").read_text())
    for pattern, name in [
        ("(OWNER|WORKER)_PASSWORD", password),
        ("'lockstep_owner'", f"'{owner}'"),
        ("'lockstep'", f"'{worker}'"),
        (r"\blockstep\b", database),
    ]:
        script = re.sub(pattern, name, script)
    for statement in filter(str.strip, script.split(";")):
        await session.run(statement)
    url = urlsplit(settings.mysql_url)
    address = f"{url.hostname}:{url.port or 3306}/{database}"
    yield Users(*(f"mysql://{user}:{password}@{address}" for user in (owner, worker)))
    await session.run(f"DROP USER '{owner}'@'%', '{worker}'@'%'")
    await session.run(f"DROP DATABASE IF EXISTS {database}")


@pytest.fixture
def told(users: Users, environment: dict[str, str]) -> dict[str, str]:
    """The environment of commands that run as these users."""
    return environment | {"LOCKSTEP_MYSQL_URL": users.worker, "LOCKSTEP_MIGRATION_URL": users.owner}


async def test_the_owner_makes_the_tables_and_the_worker_runs_every_command(
    users: Users, told: dict[str, str], settings: Settings, start_worker: StartWorker
) -> None:
    refused = await lockstep(
        {name: value for name, value in told.items() if "MIGRATION" not in name}, "migrate"
    )
    assert refused.returncode == 1
    assert "denied" in refused.stderr
    order, other = an_order({1095275: 1}, customer_id=6), an_order({1095275: 1}, customer_id=6)
    lines = "".join(f"{one.model_dump_json(exclude_none=True)}\n" for one in (order, other))
    assert (await lockstep(told, "migrate")).returncode == 0
    assert (await lockstep(told, "catalogue", "load", str(SAMPLES))).returncode == 0
    worker = start_worker(mysql_url=users.worker)
    done = await lockstep(told, "enqueue", "--chunk", "1", "-", text=lines)
    assert done.returncode == 0, done.stderr
    async with OrderClient.connect(settings.redis_url) as client:
        for one in (order, other):
            assert (await (await client.place(one)).outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    for arguments, said in [
        (("cancel", str(order.order_id)), '"cancelled"'),
        (("ship", str(other.order_id)), '"shipped"'),
        (("restock", "1095275", "5"), '"restocked"'),
        (("outcome", str(other.order_id)), '"shipped"'),
        (("audit", "--hurry"), "every invariant holds"),
        (("purge", "--before", "2020-01-01"), "purged 0 orders"),
    ]:
        done = await lockstep(told, *arguments)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    done = await lockstep(told, "deadlocks")
    assert "GRANT PROCESS ON *.*" in done.stderr, "the one command that needs more, and says so"
    assert b'"bug"' not in worker.log.read_bytes()


async def test_the_worker_makes_changes_and_reads_nothing_that_is_not_its_own(tables: Users) -> None:
    done = {}
    async with open_session(tables.worker) as session:
        for statement in FORBIDDEN:
            try:
                done[statement] = await session.run(statement.format(database=session.database))
            except (OperationalError, ProgrammingError) as error:
                if error.args[0] not in DENIED:
                    raise
    assert not done


@pytest.fixture
async def tables(users: Users, told: dict[str, str]) -> Users:
    """With their tables."""
    assert (await lockstep(told, "migrate")).returncode == 0
    return users


async def test_the_worker_has_four_rights_on_one_database(users: Users) -> None:
    async with open_session(users.worker) as session:
        everywhere, here = [next(iter(row.values())) for row in await session.run("SHOW GRANTS")]
        assert everywhere.startswith("GRANT USAGE ON *.*")
        rights, _, of = here.removeprefix("GRANT ").partition(" ON ")
        assert set(rights.split(", ")) == RIGHTS
        assert of.startswith(f"`{session.database}`.*")
        databases = {row["Database"] for row in await session.run("SHOW DATABASES")}
        assert databases <= {session.database, "information_schema", "performance_schema"}


async def test_the_worker_ends_sessions_of_its_own_and_nobody_elses(users: Users, session: Session) -> None:
    async with open_session(users.worker) as worker, open_session(users.worker) as other:
        own_id, foreign_id = [await one.value("SELECT CONNECTION_ID()") for one in (other, session)]
        await worker.run(f"KILL {own_id}")
        with pytest.raises(OperationalError) as raised:
            await worker.run(f"KILL {foreign_id}")
        assert raised.value.args[0] == 1095  # you are not owner of thread
