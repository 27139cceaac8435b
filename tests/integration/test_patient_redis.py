"""An idle worker starts at once what a client enqueues, and asks seldom."""

import asyncio
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, Final, cast

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from arq.worker import Worker
from redis.exceptions import ConnectionError as RedisConnectionError

from tests import wire_proxy
from tests.asking import PATIENCE_SECONDS
from tests.integration.conftest import MakeWorker, functions, running, until_idle
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, open_shop
from tests.wire_proxy import Fault, stand
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.queue import connection, wire
from worker.queue.connection import open_queue
from worker.queue.page_worker import PageWorker
from worker.queue.patient_redis import LOOK_SECONDS, PatientRedis
from worker.queue.wire import EXPIRES_MS, MOST_WOKEN, Message, enqueue, read_timings
from worker.settings import Settings

QUEUE: Final = "arq:queue"
WAKE: Final = "arq:queue:wake"
LOOK_MS: Final = 1000 * LOOK_SECONDS
A_LITTLE_MS: Final = 50
SOON_MS: Final = 10
both_kinds = pytest.mark.parametrize("kind", [Worker, PageWorker])


async def nothing(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    pass


async def wake_length(redis: ArqRedis) -> int:
    return int(await cast("Any", redis).llen(WAKE))  # redis-py's type is of both its clients


def messages(job_ids: Sequence[str]) -> list[Message]:
    return [Message(wire.RESTOCK, job_id, job_id) for job_id in job_ids]


async def until_done(redis: ArqRedis, job_ids: Sequence[str]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await redis.exists(*(result_key_prefix + job_id for job_id in job_ids)) < len(job_ids):
            pass


async def starts_ms(redis: ArqRedis, job_ids: Sequence[str]) -> list[int]:
    """From the enqueueing of each to its start."""
    await until_done(redis, job_ids)
    return [timing.started_ms - timing.enqueued_ms for timing in await read_timings(redis, job_ids)]


@pytest.mark.alone
@both_kinds
async def test_an_idle_worker_starts_at_once_what_a_client_enqueues(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 50})
    orders = [an_order({1: 1}) for _ in range(50)]
    client = OrderClient(redis, max_queued=100)
    async with running(make_worker(database, kind=kind, pool=patient, burst=False)):
        for order in orders:
            await until_idle(redis)
            assert (await (await client.place(order)).outcome(timeout=30)).status == "placed"
    await client.stop()
    assert median(await starts_ms(redis, [str(order.order_id) for order in orders])) <= SOON_MS


@both_kinds
async def test_a_job_of_somebody_who_wakes_nobody_starts_a_little_later(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    """By arq's own enqueue_job."""
    job_ids = [str(number) for number in range(10)]
    worker = make_worker(database, kind=kind, pool=patient, functions=functions(restock=nothing), burst=False)
    async with running(worker):
        for job_id in job_ids:
            await until_idle(redis)
            assert await redis.enqueue_job(wire.RESTOCK, "request", _job_id=job_id)
            await until_done(redis, [job_id])
    assert median(await starts_ms(redis, job_ids)) <= LOOK_MS + A_LITTLE_MS


@both_kinds
async def test_a_job_of_later_starts_when_it_is_due(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    due_ms = {str(number): 200 + 60 * number for number in range(5)}
    worker = make_worker(database, kind=kind, pool=patient, functions=functions(restock=nothing), burst=False)
    async with running(worker):
        await until_idle(redis)
        for job_id, after in due_ms.items():
            await redis.enqueue_job(wire.RESTOCK, "request", _job_id=job_id, _defer_by=after / 1000)
        late = [
            start - due
            for start, due in zip(await starts_ms(redis, list(due_ms)), due_ms.values(), strict=True)
        ]
    assert min(late) >= 0
    assert median(late) <= LOOK_MS + A_LITTLE_MS


@both_kinds
@pytest.mark.usefixtures("never_looks")
async def test_as_many_idle_workers_wake_as_jobs_come(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    """None of them ends before all have started, and each has one at a time."""
    together = asyncio.Barrier(3)

    async def meet(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
        await together.wait()

    one, two, three = (
        make_worker(
            database, kind=kind, pool=patient, functions=functions(restock=meet), burst=False, max_jobs=1
        )
        for _ in range(3)
    )
    async with running(one), running(two), running(three):
        for turn in range(5):
            await until_idle(redis, 3)
            job_ids = [f"{turn}-{number}" for number in range(3)]
            await enqueue(redis, messages(job_ids))
            await until_done(redis, job_ids)


@both_kinds
@pytest.mark.usefixtures("never_looks")
async def test_a_job_that_comes_after_the_question_and_before_the_wait_is_not_missed(
    kind: type[Worker], settings: Settings, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    class Interrupted(PatientRedis):
        async def blpop(self, *arguments: Any) -> Any:
            await enqueue(redis, messages(["job"]))
            return await cast("Any", super()).blpop(*arguments)

    pool = Interrupted.at(settings.redis_url, QUEUE)
    worker = make_worker(database, kind=kind, pool=pool, functions=functions(restock=nothing), burst=False)
    async with running(worker):
        await until_done(redis, ["job"])
    await pool.aclose(close_connection_pool=True)


@pytest.mark.alone
@both_kinds
@pytest.mark.usefixtures("never_looks")
async def test_an_idle_worker_stops_at_once(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    async with running(make_worker(database, kind=kind, pool=patient, burst=False)):
        await until_idle(redis)
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 1


@pytest.mark.usefixtures("never_looks")
async def test_a_queue_of_another_name_has_a_bell_of_its_own(
    settings: Settings, redis: ArqRedis, database: Database, make_worker: MakeWorker
) -> None:
    pool = PatientRedis.at(settings.redis_url, "other")
    worker = make_worker(
        database, pool=pool, queue_name="other", functions=functions(restock=nothing), burst=False
    )
    async with running(worker):
        await until_idle(redis)
        other = await open_queue(settings.redis_url, "other")
        await enqueue(other, messages(["job"]))
        await until_done(redis, ["job"])
        await other.aclose()
    await pool.aclose(close_connection_pool=True)


async def test_no_more_wait_to_wake_somebody_than_may_be_of_use(redis: ArqRedis) -> None:
    for turn in range(3):
        await enqueue(redis, messages([f"{turn}-{number}" for number in range(MOST_WOKEN - 6)]))
        assert await wake_length(redis) == min(MOST_WOKEN, (turn + 1) * (MOST_WOKEN - 6))


async def test_what_is_known_already_wakes_nobody(redis: ArqRedis) -> None:
    for _ in range(3):
        await enqueue(redis, messages(["one", "two"]))
        assert await wake_length(redis) == 2


@both_kinds
async def test_idle_workers_take_what_has_woken_nobody(
    kind: type[Worker], redis: ArqRedis, patient: PatientRedis, database: Database, make_worker: MakeWorker
) -> None:
    await enqueue(redis, messages([str(number) for number in range(100)]))
    async with running(
        make_worker(database, kind=kind, pool=patient, functions=functions(restock=nothing), burst=False)
    ):
        for turn in range(3):
            await until_idle(redis)
            assert await redis.exists(WAKE) == 0
            await enqueue(redis, messages([f"{turn}-{number}" for number in range(30)]))
        await until_idle(redis)
    assert await redis.zcard(QUEUE) == 0


async def test_each_job_is_accepted_by_itself_and_stands_under_its_own_id(redis: ArqRedis) -> None:
    await enqueue(redis, messages(["waits"]))
    await redis.set(result_key_prefix + "done", "result")
    await redis.set(job_key_prefix + "lost", "a job without a place in the queue")
    before = int(time.time() * 1000)
    job_ids = ["new", "waits", "done", "lost", "new", "last"]
    assert await enqueue(redis, messages(job_ids)) == [True, False, False, True, False, True]
    assert set(await redis.zrange(QUEUE, 0, -1)) == {b"new", b"waits", b"lost", b"last"}
    for job_id in ("new", "lost", "last"):
        job = wire.deserialize(await redis.get(job_key_prefix + job_id))
        assert job == {"t": None, "f": wire.RESTOCK, "a": [job_id], "k": {}, "et": job["et"]}
        assert before <= job["et"] == await redis.zscore(QUEUE, job_id) <= time.time() * 1000
        assert EXPIRES_MS - 60_000 < await redis.pttl(job_key_prefix + job_id) <= EXPIRES_MS
    assert not await redis.exists(job_key_prefix + "done")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long redis-py would have waited before each retry."""
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("redis.asyncio.retry.sleep", pause)
    return waited


async def test_a_redis_that_is_gone_for_good_is_given_up_after_one_round_of_retries(
    servers: Servers, pauses: list[float]
) -> None:
    door = Door(servers.redis_url)
    async with door.stand() as url:
        patient = PatientRedis.at(url, QUEUE)
        await patient.ping()
        await door.shut()
        with pytest.raises(RedisConnectionError):
            await patient.ping()
        await patient.aclose(close_connection_pool=True)
    assert len(pauses) == 15
    assert 10 < sum(pauses) < 15, "seconds"


async def test_a_connection_that_breaks_in_its_handshake_is_tried_again(pauses: list[float]) -> None:
    """As behind a proxy that lets everybody in while Redis is down."""
    visits = 0

    def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.close()

    async with await asyncio.start_server(slam, "127.0.0.1") as door:
        port = door.sockets[0].getsockname()[1]
        patient = PatientRedis.at(f"redis://:password@127.0.0.1:{port}/1", QUEUE)
        with pytest.raises(RedisConnectionError):
            await patient.ping()
        await patient.aclose(close_connection_pool=True)
    assert visits == 16
    assert len(pauses) == 15


async def test_so_it_is_by_a_command_that_is_under_way_when_redis_goes(
    servers: Servers, redis: ArqRedis, pauses: list[float]
) -> None:
    """Each of its retries needs a new connection, which must not begin a round of its own."""
    door = Door(servers.redis_url)
    async with door.stand() as url:
        patient = PatientRedis.at(url, QUEUE)
        waiting = asyncio.create_task(cast("Any", patient).blpop("nothing", 0))
        await until_idle(redis)
        await door.shut()
        with pytest.raises(RedisConnectionError):
            await waiting
        await patient.aclose(close_connection_pool=True)
    assert len(pauses) == 15


@both_kinds
async def test_a_worker_whose_connection_dies_without_a_word_takes_another(
    kind: type[Worker],
    servers: Servers,
    redis: ArqRedis,
    database: Database,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As behind a network that swallows packets: nothing is closed, and nothing comes."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    door = Door(servers.redis_url)
    async with door.stand() as url:
        patient = PatientRedis.at(url, QUEUE)
        worker = make_worker(
            database, kind=kind, pool=patient, functions=functions(restock=nothing), burst=False
        )
        async with running(worker):
            await until_idle(redis)
            door.swallows = True
            await enqueue(redis, messages(["one", "two"]))
            await until_idle(redis, 0)
            await asyncio.sleep(2 * connection.ANSWER_SECONDS)
            door.swallows = False
            await until_done(redis, ["one", "two"])
        await patient.aclose(close_connection_pool=True)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda fault: fault.value)
@pytest.mark.parametrize(
    ("kind", "command"),
    [(Worker, "WATCH"), (Worker, "EXISTS"), (Worker, "ZSCORE"), (PageWorker, "script claim")],
)
async def test_a_claim_that_is_cut_off_half_way_ends_no_worker(
    kind: type[Worker],
    fault: Fault,
    command: str,
    servers: Servers,
    redis: ArqRedis,
    database: Database,
    make_worker: MakeWorker,
) -> None:
    traps = [fault]

    def at(heard: str) -> Fault | None:
        return traps.pop() if traps and heard.startswith(command) else None

    async with stand(wire_proxy.Door(servers.redis_url, wire_proxy.Redis, at, lambda: None, 0)) as url:
        pool = PatientRedis.at(url, QUEUE)
        worker = make_worker(
            database, kind=kind, pool=pool, functions=functions(restock=nothing), burst=False
        )
        async with running(worker):
            await enqueue(redis, messages(["job", "next"]))
            await until_done(redis, ["job", "next"])
        await pool.aclose(close_connection_pool=True)
    assert not traps
