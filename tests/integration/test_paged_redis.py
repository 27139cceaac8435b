"""An idle worker starts at once what a client enqueues, asks seldom, and stands what happens to its connections."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, cast

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from arq.utils import ms_to_datetime, timestamp_ms
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

from tests import wire_proxy
from tests.asking import PATIENCE_SECONDS, until
from tests.integration.conftest import QUEUE, MakePool, MakeWorker, functions, running, until_idle
from tests.integration.job_cases import until_done
from tests.integration.patience import NEVER
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, open_shop
from tests.wire_proxy import Fault, stand
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.queue import connection, wire
from worker.queue.connection import open_queue
from worker.queue.paged_redis import LONGEST_LOOK_SECONDS, LOOK_SECONDS, PagedRedis
from worker.queue.wire import EXPIRES_MS, MOST_WOKEN, Message, enqueue
from worker.settings import Settings

WAKE: Final = "arq:queue:wake"
HASTE_SECONDS: Final = 0.2


async def nothing(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    pass


async def wake_length(redis: ArqRedis) -> int:
    return int(await cast("Any", redis).llen(WAKE))  # redis-py's type is of both its clients


def messages(job_ids: Sequence[str]) -> list[Message]:
    return [Message(wire.RESTOCK, job_id, job_id) for job_id in job_ids]


@pytest.mark.usefixtures("never_looks")
async def test_an_idle_worker_starts_at_once_what_a_client_enqueues(
    redis: ArqRedis, pool: PagedRedis, database: Database, make_worker: MakeWorker
) -> None:
    """Neither its next look nor arq's next turn would come before the test has ended."""
    await open_shop(database, {1: 50})
    client = OrderClient(redis, max_queued=100)
    for _ in range(3):
        async with running(make_worker(database, pool=pool, burst=False, poll_delay=NEVER)):
            await until_idle(redis)
            receipt = await client.place(an_order({1: 1}))
            assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    await client.stop()


class Looking(PagedRedis):
    """Notes how long it waits to be woken, and how late each look is that finds a job; others may come in before a wait."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.waits: list[float] = []
        self.looks: list[int] = []
        self.found: dict[str, int] = {}
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def blpop(self, *arguments: Any) -> Any:
        if self.meanwhile:
            come_in, self.meanwhile = self.meanwhile, None
            await come_in()
        self.waits.append(arguments[1])
        return await cast("Any", super()).blpop(*arguments)

    async def _claim(self, due_ms: int, most: int) -> None:
        await super()._claim(due_ms, most)
        self.looks.append(due_ms)
        self.found |= {job_id: due_ms for job_id in self._waiting if job_id not in self.found}


@pytest.fixture
def looking(make_pool: MakePool) -> Looking:
    return cast("Looking", make_pool(kind=Looking))


async def test_a_job_of_a_client_that_wakes_no_worker_starts_with_the_next_look(
    redis: ArqRedis, looking: Looking, database: Database, make_worker: MakeWorker
) -> None:
    """By arq's own enqueue_job, after a worker has looked: it is found after one wait."""
    for job_id in map(str, range(3)):
        looking.meanwhile = partial(redis.enqueue_job, wire.RESTOCK, "request", _job_id=job_id)
        looking.waits.clear()
        looking.looks.clear()
        worker = make_worker(database, pool=looking, functions=functions(restock=nothing), burst=False)
        async with running(worker):
            await until_done(redis, [job_id])
        assert LOOK_SECONDS <= looking.waits[0] <= LONGEST_LOOK_SECONDS
        assert looking.found[job_id] == looking.looks[1]
    assert (LOOK_SECONDS, LONGEST_LOOK_SECONDS) == (0.1, 0.5), "as docs/wire.md says"


async def test_a_job_of_later_starts_when_it_is_due(
    redis: ArqRedis, looking: Looking, database: Database, make_worker: MakeWorker
) -> None:
    """Not before, and with the first look from then on; each look is a moment after the one before."""
    worker = make_worker(database, pool=looking, functions=functions(restock=nothing), burst=False)
    async with running(worker):
        await until_idle(redis)
        due_ms = {str(number): timestamp_ms() + 200 + 60 * number for number in range(5)}
        for job_id, due in due_ms.items():
            await redis.enqueue_job(wire.RESTOCK, "request", _job_id=job_id, _defer_until=ms_to_datetime(due))
        looks = len(looking.looks) + 1  # the last of them may have begun before
        await until_done(redis, list(due_ms))
        await until_idle(redis)
    for job_id, due in due_ms.items():
        first = next(look for look in looking.looks[looks:] if look >= due)
        assert due <= looking.found[job_id] <= first
    assert LOOK_SECONDS <= min(looking.waits) <= max(looking.waits) <= LONGEST_LOOK_SECONDS


@pytest.mark.usefixtures("never_looks")
async def test_as_many_idle_workers_wake_as_jobs_come(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    """None of them ends before all have started, and each has one at a time."""
    together = asyncio.Barrier(3)

    async def meet(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
        await together.wait()

    one, two, three = (
        make_worker(database, pool=make_pool(jobs=1), functions=functions(restock=meet), burst=False)
        for _ in range(3)
    )
    async with running(one), running(two), running(three):
        for turn in range(5):
            await until_idle(redis, 3)
            job_ids = [f"{turn}-{number}" for number in range(3)]
            await enqueue(redis, messages(job_ids))
            await until_done(redis, job_ids)


@pytest.mark.usefixtures("never_looks")
async def test_a_job_that_comes_after_the_question_and_before_the_wait_is_not_missed(
    redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    class Interrupted(PagedRedis):
        async def blpop(self, *arguments: Any) -> Any:
            await enqueue(redis, messages(["job"]))
            return await cast("Any", super()).blpop(*arguments)

    pool = make_pool(kind=Interrupted)
    worker = make_worker(database, pool=pool, functions=functions(restock=nothing), burst=False)
    async with running(worker):
        await until_done(redis, ["job"])


@pytest.mark.usefixtures("never_looks")
async def test_an_idle_worker_stops_at_once(
    redis: ArqRedis, pool: PagedRedis, database: Database, make_worker: MakeWorker
) -> None:
    """It would wait to be woken for longer than the test lasts."""
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        async with running(make_worker(database, pool=pool, burst=False)):
            await until_idle(redis)


@pytest.mark.usefixtures("never_looks")
async def test_a_queue_of_another_name_has_a_bell_of_its_own(
    settings: Settings, redis: ArqRedis, database: Database, make_pool: MakePool, make_worker: MakeWorker
) -> None:
    pool = make_pool(queue_name="other")
    worker = make_worker(
        database, pool=pool, queue_name="other", functions=functions(restock=nothing), burst=False
    )
    async with running(worker):
        await until_idle(redis)
        other = await open_queue(settings.redis_url, "other")
        await enqueue(other, messages(["job"]))
        await until_done(redis, ["job"])
        await other.aclose()


async def test_no_more_wait_to_wake_somebody_than_may_be_of_use(redis: ArqRedis) -> None:
    for turn in range(3):
        await enqueue(redis, messages([f"{turn}-{number}" for number in range(MOST_WOKEN - 6)]))
        assert await wake_length(redis) == min(MOST_WOKEN, (turn + 1) * (MOST_WOKEN - 6))


async def test_what_is_known_already_wakes_nobody(redis: ArqRedis) -> None:
    for _ in range(3):
        await enqueue(redis, messages(["one", "two"]))
        assert await wake_length(redis) == 2


async def test_idle_workers_take_what_has_woken_nobody(
    redis: ArqRedis, pool: PagedRedis, database: Database, make_worker: MakeWorker
) -> None:
    await enqueue(redis, messages([str(number) for number in range(100)]))
    async with running(make_worker(database, pool=pool, functions=functions(restock=nothing), burst=False)):
        for turn in range(3):
            await until_idle(redis)
            assert await redis.exists(WAKE) == 0
            job_ids = [f"{turn}-{number}" for number in range(30)]
            await enqueue(redis, messages(job_ids))
            await until_done(redis, job_ids)
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
        pool = PagedRedis.at(url, QUEUE)
        await pool.ping()
        await door.shut()
        with pytest.raises(RedisConnectionError):
            await pool.ping()
        await pool.aclose(close_connection_pool=True)
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
        pool = PagedRedis.at(f"redis://:password@127.0.0.1:{port}/1", QUEUE)
        with pytest.raises(RedisConnectionError):
            await pool.ping()
        await pool.aclose(close_connection_pool=True)
    assert visits == 16
    assert len(pauses) == 15


async def test_so_it_is_by_a_command_that_is_under_way_when_redis_goes(
    servers: Servers, redis: ArqRedis, pauses: list[float]
) -> None:
    """Each of its retries needs a new connection, which must not begin a round of its own."""
    door = Door(servers.redis_url)
    async with door.stand() as url:
        pool = PagedRedis.at(url, QUEUE)
        waiting = asyncio.create_task(cast("Any", pool).blpop("nothing", 0))
        await until_idle(redis)
        await door.shut()
        with pytest.raises(RedisConnectionError):
            await waiting
        await pool.aclose(close_connection_pool=True)
    assert len(pauses) == 15


class CountingDoor(Door):
    """Counts who has come."""

    visits = 0

    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        super()._come(reader, writer)


async def test_a_worker_whose_connection_dies_without_a_word_takes_another(
    servers: Servers,
    redis: ArqRedis,
    database: Database,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As behind a network that swallows packets: nothing is closed, and nothing comes, on the next connection neither."""
    door = CountingDoor(servers.redis_url)
    async with door.stand() as url:
        pool = PagedRedis.at(url, QUEUE)
        worker = make_worker(database, pool=pool, functions=functions(restock=nothing), burst=False)
        # Those of the test wait for as long as it takes.
        monkeypatch.setattr(connection, "ANSWER_SECONDS", HASTE_SECONDS)
        plain = ArqRedis(ConnectionPool.from_url(servers.redis_url), default_queue_name=QUEUE)
        async with running(worker):
            await until_idle(plain)
            visits, door.swallows = door.visits, True
            await enqueue(plain, messages(["one", "two"]))

            async def has_come_again() -> bool:
                return door.visits >= visits + 2

            await until(has_come_again, "the next connection to be given up, too")
            door.swallows = False
            await until_done(plain, ["one", "two"])
        await plain.aclose(close_connection_pool=True)
        monkeypatch.setattr(connection, "ANSWER_SECONDS", PATIENCE_SECONDS)
        await pool.aclose(close_connection_pool=True)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda fault: fault.value)
@pytest.mark.parametrize("command", ["script claim", "MULTI", "BLPOP arq:queue:wake"])
async def test_a_command_that_is_cut_off_half_way_ends_no_worker(
    fault: Fault,
    command: str,
    servers: Servers,
    redis: ArqRedis,
    database: Database,
    make_pool: MakePool,
    make_worker: MakeWorker,
) -> None:
    """A claim, the ends of jobs, and the wait for more."""
    traps = [fault]

    def at(heard: str) -> Fault | None:
        return traps.pop() if traps and heard.startswith(command) else None

    async with stand(wire_proxy.Door(servers.redis_url, wire_proxy.Redis, at, lambda: None, 0)) as url:
        pool = make_pool(url)
        worker = make_worker(database, pool=pool, functions=functions(restock=nothing), burst=False)
        async with running(worker):
            await enqueue(redis, messages(["job", "next"]))
            await until_done(redis, ["job", "next"])
            await until(lambda: _is_empty(traps), "the fault")
            await enqueue(redis, messages(["last"]))
            await until_done(redis, ["last"])
        await pool.aclose(close_connection_pool=True)


async def _is_empty(traps: list[Fault]) -> bool:
    return not traps
