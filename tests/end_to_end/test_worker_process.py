"""A worker as an operator sees it: `arq worker.main`, and `lockstep worker`, which supervises it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import arq
import pytest
from arq.connections import ArqRedis

from jobs.intake import stage
from tests.asking import PATIENCE_SECONDS, PATIENT, Session, until, until_waiting
from tests.end_to_end.conftest import ARQ, LOCKSTEP, StartWorker, WorkerProcess
from tests.end_to_end.own_servers import OwnRedis
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.forked import run
from tests.shop import an_order, broken_invariants, open_shop
from tests.wire_proxy import Door, Fault, Redis, stand
from worker import supervisor
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.errors import LockstepError
from worker.queue.tested_arq import TESTED
from worker.settings import Settings


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps: a database that answers late is an outage, which ends no worker."""
    return environment | PATIENT_VARIABLES


async def test_the_health_check_tells_whether_a_worker_runs(
    environment: dict[str, str], redis: ArqRedis, start_worker: StartWorker
) -> None:
    assert (await run(environment, *ARQ, "--check")).returncode == 1
    worker = start_worker()

    async def started() -> bool:
        return bool(logged(worker, "started"))

    await until(started, "the worker to start")

    async def alive() -> bool:
        """The sign of life that it looks for is two seconds old at most: a machine may be slower for once."""
        return (await run(environment, *ARQ, "--check")).returncode == 0

    await until(alive, "the check to see the worker")


@pytest.mark.parametrize("command", [ARQ, LOCKSTEP], ids=["arq", "lockstep"])
async def test_both_commands_place_orders_and_stop_when_they_are_told_to(
    command: Sequence[str], settings: Settings, database: Database, redis: ArqRedis, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    worker = start_worker(command)
    async with OrderClient.connect(settings.redis_url) as client:
        receipt = await client.place(an_order({1: 1}))
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    (line,) = logged(worker, "started")
    assert (line["queue"], line["mysql_connections"]) == ("arq:queue", settings.mysql_connections)
    assert await worker.terminate() == 0
    assert logged(worker, "stopped")
    assert "Traceback" not in worker.log.read_text()


@pytest.mark.parametrize("command", [ARQ, LOCKSTEP], ids=["arq", "lockstep"])
async def test_with_an_arq_that_it_was_not_tested_with_it_does_not_start(
    command: Sequence[str], environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "site-packages"
    shutil.copytree(Path(arq.__file__).parent, folder / "arq")
    text = (folder / "arq" / "worker.py").read_text()
    (folder / "arq" / "worker.py").write_text(
        text.replace("async def finish_job(", "async def finish_job(  # of another release", 1)
    )
    program = [sys.executable, "-m", *command]
    done = await asyncio.to_thread(
        subprocess.run, program, env=environment | {"PYTHONPATH": str(folder)}, capture_output=True, text=True,
        timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"lockstep: arq {version('arq')} is not the one that this worker was tested with (finish_job differ):"
        f" install arq {TESTED}.\n"
    )


async def test_it_runs_in_any_folder(environment: dict[str, str], tmp_path: Path, redis: ArqRedis) -> None:
    done = await run(environment, *ARQ, "--burst", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


async def test_without_settings_it_says_what_to_set(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_")}
    done = await run(environment, *ARQ, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("lockstep: LOCKSTEP_MYSQL_URL is not set")
    assert done.stderr.count("\n") == 1


async def test_without_redis_it_ends_with_a_sentence(environment: dict[str, str]) -> None:
    """Both commands at the same time: they try for as long as a restart of Redis takes."""
    nowhere = environment | {"LOCKSTEP_REDIS_URL": "redis://:secret@127.0.0.1:1/0"}
    for done in await asyncio.gather(*(run(nowhere, *command) for command in (ARQ, LOCKSTEP))):
        assert done.returncode == 1
        assert "the worker has ended: Redis does not answer at redis://127.0.0.1:1/0" in done.stderr
        assert "Traceback" not in done.stderr
        assert "secret" not in done.stderr


async def test_with_a_wrong_password_of_redis_it_ends_at_once_with_a_sentence(
    environment: dict[str, str], servers: Servers
) -> None:
    url = urlsplit(servers.redis_url)
    wrong = url._replace(netloc=f":not-{url.password}@{url.hostname}:{url.port}").geturl()
    done = await run(environment | {"LOCKSTEP_REDIS_URL": wrong}, *ARQ)
    assert done.returncode == 1
    assert done.stderr.count("refuses this user or password") == 1
    assert "Traceback" not in done.stderr
    assert str(url.password) not in done.stderr


async def test_where_redis_may_drop_orders_a_worker_says_so(
    environment: dict[str, str], redis: ArqRedis
) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    done = await run(environment, *ARQ, "--burst")
    await redis.config_set("maxmemory-policy", "noeviction")
    assert "set its maxmemory-policy to noeviction" in done.stderr
    assert "set its maxmemory-policy" not in (await run(environment, *ARQ, "--burst")).stderr


async def test_with_redis_out_of_memory_it_ends_with_a_sentence_and_keeps_its_orders(
    settings: Settings, database: Database, redis: ArqRedis, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    async with OrderClient.connect(settings.redis_url) as client:
        receipt = await client.place(an_order({1: 1}))
        await redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(LockstepError, match="no memory left for new orders"):
                await client.place(an_order({1: 1}))
            worker = start_worker()
            assert await asyncio.to_thread(worker.process.wait, PATIENCE_SECONDS) == 1
            assert worker.log.read_text().count("has no memory left: raise its maxmemory") == 1
            assert "Traceback" not in worker.log.read_text()
        finally:
            await redis.config_set("maxmemory", 0)
        start_worker()
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"


async def test_with_a_wrong_password_it_ends_with_a_sentence(
    environment: dict[str, str], servers: Servers
) -> None:
    user, host = servers.mysql_url.split("@")
    done = await run(environment | {"LOCKSTEP_MYSQL_URL": f"{user}x@{host}"}, *ARQ)
    assert done.returncode == 1
    assert "check user and password in LOCKSTEP_MYSQL_URL" in done.stderr
    assert "Traceback" not in done.stderr


async def test_without_tables_it_says_what_to_run(
    environment: dict[str, str], settings: Settings, session: Session
) -> None:
    await session.run("CREATE DATABASE lockstep_test_empty")
    url = settings.mysql_url.rsplit("/", 1)[0] + "/lockstep_test_empty"
    done = await run(environment | {"LOCKSTEP_MYSQL_URL": url}, *ARQ)
    await session.run("DROP DATABASE lockstep_test_empty")
    assert done.returncode == 1
    assert "run `lockstep migrate`" in done.stderr
    assert "Traceback" not in done.stderr


async def test_without_a_database_server_orders_wait_in_the_queue(
    settings: Settings, database: Database, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    lost = start_worker(mysql_url="mysql://nobody:x@127.0.0.1:1/lockstep")
    async with OrderClient.connect(settings.redis_url) as client:
        receipt = await client.place(an_order({1: 1}))

        async def deferred() -> bool:
            return b'"deferred"' in lost.log.read_bytes()

        await until(deferred, "the order to be deferred")
        assert await lost.terminate() == 0
        start_worker()
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"


@pytest.mark.parametrize("command", [ARQ, LOCKSTEP], ids=["arq", "lockstep"])
async def test_a_worker_that_is_stopped_while_redis_is_silent_ends_without_a_traceback(
    command: Sequence[str], settings: Settings, database: Database, redis: ArqRedis, start_worker: StartWorker
) -> None:
    """What it could not tell Redis any more another worker finds in the database."""
    await open_shop(database, {1: 5})
    silent = asyncio.Event()

    def at(sent: str) -> Fault | None:
        if "arq:result" not in sent:
            return None
        silent.set()
        return Fault.DELAY

    door = Door(settings.redis_url, Redis, at, kill=lambda: None, delay_seconds=PATIENCE_SECONDS)
    async with stand(door) as url, OrderClient.connect(settings.redis_url) as client:
        worker = start_worker(command, **PATIENT | {"redis_url": url, "stop_seconds": 1})
        receipt = await client.place(an_order({1: 1}))
        await asyncio.wait_for(silent.wait(), PATIENCE_SECONDS)
        assert await worker.terminate() == 1
        log = worker.log.read_text()
        assert "Traceback" not in log
        assert "others run them" in log
        await redis.delete(f"arq:in-progress:{receipt.job_id}")  # as if its time were over
        start_worker()
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert not await broken_invariants(database)


async def test_redis_restarting_under_workers_is_survived(
    settings: Settings,
    database: Database,
    session: Session,
    other_session: Session,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    """Down for a second while a job runs in each of two; the jobs end meanwhile and cannot say so."""
    await open_shop(database, {1: 5})
    redis = OwnRedis(tmp_path)
    await redis.start()
    try:
        queues = ("one", "two")  # those of one queue place orders by turns
        workers = [start_worker(redis_url=redis.url, queue_name=name) for name in queues]
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock FOR UPDATE")
        async with AsyncExitStack() as stack:
            connected = [OrderClient.connect(redis.url, queue_name=name) for name in queues]
            clients = [await stack.enter_async_context(client) for client in connected]
            receipts = [await client.place(an_order({1: 1})) for client in clients]
            await until_waiting(other_session, 2)
            redis.stop()
            await session.run("COMMIT")

            async def both_placed() -> bool:
                return bool(await session.value("SELECT COUNT(*) = 2 FROM orders"))

            await until(both_placed, "both jobs to end")
            await asyncio.sleep(1)  # how long it is down is the point
            await redis.start()
            receipts += [await client.place(an_order({1: 1})) for client in clients]
            for receipt in receipts:
                assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
        for worker in workers:
            assert await worker.terminate() == 0
    finally:
        redis.stop()


def logged(worker: WorkerProcess, event: str) -> list[dict[str, Any]]:
    """What the log has of this event so far; its last line may be half written."""
    lines = [
        json.loads(line) for line in worker.log.read_text().splitlines(keepends=True) if line.endswith("}\n")
    ]
    return [line for line in lines if line["event"] == event]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_of_several_processes_one_that_dies_is_replaced_and_all_end_together(
    number: signal.Signals, settings: Settings, database: Database, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    group = start_worker([*LOCKSTEP, "--processes", "2"])

    async def started(count: int) -> bool:
        return len(logged(group, "started")) == count

    await until(lambda: started(2), "two workers to start")
    first = logged(group, "worker starts")[0]["pid"]
    if number is signal.SIGTERM:
        os.kill(first, signal.SIGKILL)
        await until(lambda: started(3), "a third worker to start")
        (death,) = logged(group, "worker has ended by itself")
        assert (death["pid"], death["exit_code"], death["next_in_seconds"]) == (first, -signal.SIGKILL, 1)
        assert death["level"] == "error"
    async with OrderClient.connect(settings.redis_url) as client:
        assert (
            await (await client.place(an_order({1: 1}))).outcome(timeout=PATIENCE_SECONDS)
        ).status == "placed"
    group.process.send_signal(number)
    assert await asyncio.to_thread(group.process.wait, PATIENCE_SECONDS) == 0
    assert len(logged(group, "stopped")) == len(logged(group, "worker has stopped")) == 2
    assert not any(is_running(line["pid"]) for line in logged(group, "worker starts"))


async def test_workers_whose_supervisor_is_killed_stop_as_if_they_were_told_to(
    settings: Settings,
    database: Database,
    session: Session,
    other_session: Session,
    start_worker: StartWorker,
) -> None:
    await open_shop(database, {1: 5})
    group = start_worker([*LOCKSTEP, "--processes", "2"], log_level="debug", **PATIENT)

    async def both(event: str) -> bool:
        return len(logged(group, event)) == 2

    try:
        await until(partial(both, "started"), "two workers to start")
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock FOR UPDATE")
        async with OrderClient.connect(settings.redis_url) as client:
            receipt = await client.place(an_order({1: 1}))
            await until_waiting(other_session, 1)
            group.kill()

            async def are_stopping() -> bool:
                return group.log.read_bytes().count(b"Setting allow_pick_jobs to `False`") == 2

            await until(are_stopping, "both to say that they stop")
            await session.run("COMMIT")
            assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
        await until(partial(both, "stopped"), "both to end")
    finally:
        for line in logged(group, "worker starts"):
            with suppress(ProcessLookupError):
                os.kill(line["pid"], signal.SIGKILL)


async def test_workers_that_cannot_start_are_started_again_after_growing_pauses(
    servers: Servers, start_worker: StartWorker
) -> None:
    user, host = servers.mysql_url.split("@")
    group = start_worker([*LOCKSTEP, "--processes", "1"], mysql_url=f"{user}x@{host}")

    async def failed_twice() -> bool:
        return b'"next_in_seconds": 2.0' in group.log.read_bytes()

    await until(failed_twice, "two failures")
    assert b"check user and password in LOCKSTEP_MYSQL_URL" in group.log.read_bytes()
    exit_code = await group.terminate()
    # A third may have been started by then, and be stopped before it can say how it ends.
    assert exit_code == 0 or len(logged(group, "worker starts")) > 2, "none was left to stop"


async def test_several_processes_without_settings_are_none(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_")}
    done = await run(environment, *LOCKSTEP, "--processes", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert "LOCKSTEP_MYSQL_URL is not set" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_a_worker_that_does_not_end_when_it_is_told_to_is_killed() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", deaf, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    await process.stdout.readline()
    assert not await supervisor._stop(process, 1, 0.1)
    assert process.returncode == -signal.SIGKILL


async def test_an_order_staged_by_an_insert_alone_is_placed(
    database: Database, session: Session, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    worker = start_worker()
    await session.run(*stage([an_order({1: 1})]))

    async def placed() -> bool:
        return bool(await session.value("SELECT COUNT(*) FROM orders WHERE status = 'placed'"))

    await until(placed, "the order")
    assert await session.value("SELECT COUNT(*) FROM intake") == 0
    assert await worker.terminate() == 0
