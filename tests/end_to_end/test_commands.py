"""The `lockstep` command, run as a person runs it."""

import asyncio
import gzip
import json
import re
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from click.testing import CliRunner

from tests.asking import PATIENCE_SECONDS, Session, owner_url, until
from tests.end_to_end.conftest import StartWorker
from tests.end_to_end.own_servers import free_port
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.end_to_end.test_web_process import answered
from tests.forked import Program, Start, run
from tests.shop import an_order
from worker import cli
from worker.commands import requests
from worker.database.transactions import Database
from worker.queue.connection import ANSWER_SECONDS
from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples" / "journey"
Environment = dict[str, str]


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps."""
    return environment | PATIENT_VARIABLES


async def lockstep(
    environment: Environment, *arguments: str, text: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return await run(environment, "worker", *arguments, text=text, cwd=cwd)


async def enqueue(
    environment: Environment, *arguments: str, text: str | None = None
) -> tuple[subprocess.CompletedProcess[str], str]:
    """And what it says of orders that are new. What Redis took, and was too late to say, is sent again, and known then."""
    began = time.monotonic()
    done = await lockstep(environment, "enqueue", *arguments, text=text)
    found = re.search(r"(\d+) enqueued, (\d+) known already, \d+ bad lines", done.stdout)
    assert found, done.stderr
    if time.monotonic() - began < ANSWER_SECONDS:
        return done, found[0]
    return done, found[0].replace(
        f"{found[1]} enqueued, {found[2]} known", f"{int(found[1]) + int(found[2])} enqueued, 0 known"
    )


async def test_a_whole_day_with_the_command_line(
    environment: Environment, settings: Settings, start_worker: StartWorker, session: Session
) -> None:
    migrated = await lockstep(environment | {"LOCKSTEP_MIGRATION_URL": owner_url(settings)}, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    for new, known in (("9,729 new", "0 known"), ("0 new", "9,729 known")):
        loaded = await lockstep(environment, "catalogue", "load", str(SAMPLES))
        assert loaded.returncode == 0
        assert f"products: {new}, {known}" in loaded.stdout
    start_worker()
    with gzip.open(SAMPLES / "orders.jsonl.gz", "rt") as file:
        first, second, *_ = file.read().splitlines()
    enqueued, said = await enqueue(environment, "-", text=f"{first}\n\nnot JSON\n{second}\n")
    assert enqueued.returncode == 1
    assert said == "2 enqueued, 0 known already, 1 bad lines"
    assert "-, line 3: request: Invalid JSON" in enqueued.stderr
    order_id, other_id = (json.loads(line)["order_id"] for line in (first, second))

    async def placed() -> bool:
        return int(await session.value("SELECT COUNT(*) FROM orders")) == 2

    await until(placed, "both orders to have an outcome")
    again = await lockstep(environment, "enqueue", "-", text=f"{first}\n{second}\n")
    assert again.returncode == 0
    assert "0 enqueued, 2 known already, 0 bad lines" in again.stdout
    for command, status in [
        (["outcome", order_id], "placed"),
        (["cancel", order_id], "cancelled"),
        (["outcome", order_id], "cancelled"),
        (["ship", other_id], "shipped"),
        (["outcome", other_id], "shipped"),
        (["outcome", str(uuid4())], "not_found"),
        (["restock", "1095275", "10"], "restocked"),
    ]:
        done = await lockstep(environment, *command)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"] == status
    audited = await lockstep(environment, "audit")
    assert audited.returncode == 0
    assert "every invariant holds" in audited.stdout
    assert "checked 2 orders, " in audited.stderr
    await session.run("UPDATE orders SET placed_at = '2020-01-01', recorded_at = '2020-01-01'")
    purged = await lockstep(environment, "purge", "--before", "2020-01-02")
    assert purged.returncode == 0, purged.stderr
    assert "purged 2 orders, " in purged.stdout
    assert json.loads((await lockstep(environment, "outcome", order_id)).stdout)["status"] == "not_found"
    assert (await lockstep(environment, "audit", "--hurry")).returncode == 0
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id = 1095275")
    audited = await lockstep(environment, "audit")
    assert audited.returncode == 1
    assert "1 violations" in audited.stdout
    assert "product 1095275" in audited.stdout


async def test_a_job_that_nobody_can_run_is_listed_shown_replayed_and_dropped(
    environment: Environment, redis: ArqRedis, settings: Settings, start_worker: StartWorker
) -> None:
    """What the commands say in detail is in tests/integration/test_dead_command.py."""
    worker = start_worker()
    await redis.set(job_key_prefix + "strange", b"\xc1")
    await redis.zadd("arq:queue", {"strange": 1})

    async def buried() -> bool:
        return b'"buried"' in worker.log.read_bytes()

    await until(buried, "the message to be buried")
    for arguments, code, said in [
        (["list"], 0, "1 dead letters"),
        (["show", "strange"], 0, "the message cannot be read"),
        (["replay", "--all"], 1, "0 replayed, 1 dead again"),
        (["drop", "strange"], 0, "wQ=="),
        (["show", "strange"], 1, ""),
    ]:
        done = await lockstep(environment, "dead", *arguments)
        assert done.returncode == code, done.stderr
        assert said in done.stdout
    assert "there is no dead letter of strange" in done.stderr


async def test_a_file_of_orders_is_enqueued_whole(
    environment: Environment, database: Database, redis: ArqRedis, tmp_path: Path
) -> None:
    orders = tmp_path / "orders.jsonl.gz"
    with gzip.open(orders, "wt") as file:
        file.writelines(an_order({1: 1}).model_dump_json() + "\n" for _ in range(150))
    done, said = await enqueue(environment, str(orders))
    assert done.returncode == 0, done.stderr
    assert said == "150 enqueued, 0 known already, 0 bad lines"
    assert await redis.zcard("arq:queue") == 2, "jobs of 100 orders"
    _, said = await enqueue(environment, "--chunk", "1", str(orders))
    assert said == "150 enqueued, 0 known already, 0 bad lines"
    assert await redis.zcard("arq:queue") == 2 + 150


@pytest.mark.parametrize(
    ("arguments", "changed", "sentence"),
    [
        (["enqueue", "no-such-file"], {}, "no-such-file cannot be read: No such file or directory."),
        (["enqueue", str(SAMPLES)], {}, "Is a directory"),
        (["catalogue", "load", str(ROOT / "sql")], {}, "has no products.csv and no products.csv.gz"),
        (["enqueue", "-", "--chunk", "501"], {}, "501 is not in the range 1<=x<=500"),
        (["outcome", "42"], {}, "'42' is not a valid UUID"),
        (["restock", "1", "99999999999"], {}, "quantity: Input should be less than or equal to 1000000000"),
        (["purge", "--before", "2999-01-01"], {}, "orders are kept for five weeks"),
        (["purge"], {}, "Missing option '--before'"),
        (
            ["audit"],
            {"MYSQL_URL": "mysql://nobody:secret@127.0.0.1:1/x"},
            "the database fails: connect: 2003",
        ),
        (["migrate"], {"MYSQL_URL": "mysql://nobody:secret@127.0.0.1:1/x"}, "connection refused"),
        (
            ["enqueue", "-"],
            {"REDIS_URL": "redis://:secret@127.0.0.1:1/0"},
            "Redis does not answer at redis://127.0.0.1:1/0",
        ),
        (
            ["audit"],
            {"MYSQL_URL": "localhost"},
            "LOCKSTEP_MYSQL_URL cannot be used: it must be mysql://USER:PASSWORD@HOST:PORT/DATABASE",
        ),
        (["audit"], {"MYSQL_ULR": "x"}, "LOCKSTEP_MYSQL_ULR is not a setting"),
    ],
)
async def test_a_mistake_is_answered_with_one_sentence(
    arguments: list[str], changed: Environment, sentence: str, environment: Environment
) -> None:
    wrong = environment | {f"LOCKSTEP_{name}": value for name, value in changed.items()}
    done = await lockstep(wrong, *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


async def test_without_a_migration_it_says_what_to_run(
    environment: Environment, settings: Settings, session: Session
) -> None:
    await session.run("CREATE DATABASE lockstep_test_bare")
    urls = {"LOCKSTEP_MYSQL_URL": settings.mysql_url, "LOCKSTEP_MIGRATION_URL": owner_url(settings)}
    bare = environment | {name: f"{url.rpartition('/')[0]}/lockstep_test_bare" for name, url in urls.items()}
    done = await lockstep(bare, "audit")
    assert "run `lockstep migrate`" in done.stderr
    assert (await lockstep(bare, "migrate")).returncode == 0
    assert (await lockstep(bare, "audit")).returncode == 0
    await session.run("DROP DATABASE lockstep_test_bare")


async def test_a_cancellation_without_a_worker_stays_in_the_queue(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "OUTCOME_SECONDS", 0.2)
    for name in ("LOCKSTEP_MYSQL_URL", "LOCKSTEP_REDIS_URL"):
        monkeypatch.setenv(name, environment[name])
    done = await asyncio.to_thread(CliRunner().invoke, cli.main, ["cancel", str(uuid4())])
    assert done.exit_code == 1
    assert "is a worker running?" in done.output


async def test_the_demo_ends_with_a_clean_audit(tmp_path: Path, environment: Environment) -> None:
    done = await lockstep(environment, "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2,000 orders in" in done.stdout
    assert "worker 1 killed with SIGKILL, worker 3 started" in done.stdout
    assert "of the killed worker placed by another" in done.stdout
    assert "every invariant holds" in done.stdout


async def test_up_runs_a_shop_until_it_is_interrupted(tmp_path: Path, environment: Environment) -> None:
    alone = {name: value for name, value in environment.items() if not name.startswith("LOCKSTEP_")}
    servers_file, port = tmp_path / ".lockstep" / "servers.env", free_port()
    output = tmp_path / "up.log"
    command = ("worker", "up", "--port", str(port))
    up = Program(Start(command, alone, output, output, folder=tmp_path))

    async def has_servers() -> bool:
        return servers_file.exists()

    await until(has_servers, "the servers to start")

    async def running() -> bool:
        return all(said in output.read_bytes() for said in (b"event=started", b"event=listening"))

    await until(running, "the worker and the web to start")
    for taken, sentence in [
        (port, "free it, or name another with --port"),
        (free_port(), "another lockstep is running in"),
    ]:
        second = await lockstep(alone, "up", "--port", str(taken), cwd=tmp_path)
        assert second.returncode == 1
        assert sentence in second.stderr
        assert "Traceback" not in second.stderr
    order = an_order({1082185: 1}, customer_id=900).model_dump(mode="json", exclude_none=True)
    async with ClientSession(f"http://127.0.0.1:{port}") as browser:
        placed = await answered(browser, order, {"Prefer": "wait=30"})
        assert placed["status"] == "placed"
        async with browser.get("/docs") as response:
            assert response.status == 200
    audited = await lockstep(alone, "audit", cwd=tmp_path)
    assert audited.returncode == 0, audited.stderr
    ports = [urlsplit(line.split("=", 1)[1]).port for line in servers_file.read_text().split()]
    up.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(up.wait, PATIENCE_SECONDS) == 0, output.read_text()
    assert not servers_file.exists()
    for closed in [port, *ports]:
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", closed)
    assert "event=stopped" in output.read_text()
    assert "Traceback" not in output.read_text()
