"""What a worker tells at its port, and to every process that asks Redis."""

import asyncio
import socket
from contextlib import suppress
from functools import partial
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from arq.connections import ArqRedis
from prometheus_client.parser import text_string_to_metric_families

from tests.asking import PATIENCE_SECONDS, until
from tests.end_to_end.conftest import LOCKSTEP, StartWorker
from tests.end_to_end.own_servers import free_port
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue.vitals import Vitals, read_vitals
from worker.settings import Settings


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps."""
    return environment | PATIENT_VARIABLES


async def ask(port: int, path: str) -> tuple[int, str] | None:
    """Status and body; None where nobody answers."""

    def get() -> tuple[int, str] | None:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except (URLError, ConnectionError):
            return None

    return await asyncio.to_thread(get)


def first_of_two_free_ports() -> int:
    while True:
        port = free_port()
        with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 1)):
            return port


async def until_says(port: int, path: str, status: int) -> str:
    async def says() -> str | None:
        answer = await ask(port, path)
        return answer[1] if answer and answer[0] == status else None

    return await until(says, f"{path} to say {status}")


async def value(port: int, name: str, **labels: str) -> float:
    body = await until_says(port, "/metrics", 200)
    samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
    found = [
        sample.value for sample in samples if sample.name == name and sample.labels.items() >= labels.items()
    ]
    return sum(found)


async def test_a_worker_tells_what_it_has_done_at_its_port_and_in_redis(
    settings: Settings, database: Database, redis: ArqRedis, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    port = free_port()
    worker = start_worker(metrics_port=port)
    assert await until_says(port, "/readyz", 200) == "ok\n"
    assert await until_says(port, "/healthz", 200) == "ok\n"
    async with OrderClient.connect(settings.redis_url) as client:
        for quantity in (3, 3):
            await (await client.place(an_order({1: quantity}))).outcome(timeout=PATIENCE_SECONDS)
    assert await value(port, "lockstep_outcomes_total", outcome="placed") == 1
    assert await value(port, "lockstep_outcomes_total", reason="insufficient_stock") == 1
    assert await value(port, "lockstep_job_seconds_count") == 2

    async def told() -> Vitals | None:
        (vitals,) = await read_vitals(redis, settings.queue_name)
        return vitals if vitals.latency.counts[-1] == 2 else None

    vitals = await until(told, "the worker to tell it")
    assert vitals.pid == worker.process.pid
    assert vitals.outcomes == {"placed": 1, "rejected:insufficient_stock": 1}
    assert vitals.loop_lag.counts[-1] > 0
    assert await worker.terminate() == 0

    async def silent() -> bool:
        """It has a second to take itself from the list, and is not alive in any case."""
        return not any(one.alive for one in await read_vitals(redis, settings.queue_name))

    await until(silent, "the worker to be gone from those that are alive")


async def test_a_port_that_is_taken_ends_a_worker_with_one_sentence(
    start_worker: StartWorker, redis: ArqRedis
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        worker = start_worker(metrics_port=port)
        assert await asyncio.to_thread(worker.process.wait, PATIENCE_SECONDS) == 1
    said = worker.log.read_text()
    assert f"lockstep: the metrics cannot be served at 127.0.0.1:{port} (Address already in use)" in said
    assert "Traceback" not in said


async def test_of_several_processes_each_answers_at_the_next_port(
    start_worker: StartWorker, redis: ArqRedis
) -> None:
    port = first_of_two_free_ports()
    group = start_worker([*LOCKSTEP, "--processes", "2"], metrics_port=port)
    for each in (port, port + 1):
        assert await until_says(each, "/readyz", 200) == "ok\n"
    pids = {one.pid for one in await until(partial(read_vitals, redis, "arq:queue"), "both workers")}
    assert group.process.pid not in pids
    assert await group.terminate() == 0


async def test_a_worker_whose_database_is_away_lives_and_is_not_ready(
    start_worker: StartWorker, redis: ArqRedis
) -> None:
    port = free_port()
    start_worker(metrics_port=port, mysql_url=f"mysql://nobody:x@127.0.0.1:{free_port()}/lockstep")
    assert await until_says(port, "/healthz", 200) == "ok\n"

    async def redis_answers() -> bool:
        return await until_says(port, "/readyz", 503) == "no answer for 10 s: the database\n"

    await until(redis_answers, "Redis to answer, and the database alone to be silent")
