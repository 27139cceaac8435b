"""Servers that go away under workers, with production's own settings: what waits is placed when they are back.

How long it takes from then on is printed (`pytest -rP`). What decides is what a pause of the machine does not change:
no order is put off for longer than OUTAGE_DEFER_SECONDS, and each is placed within a few tries.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import pytest
from pymysql.err import OperationalError
from redis.asyncio import Redis

from tests.asking import PATIENCE_SECONDS, PATIENT, Session, open_session, until, until_waiting
from tests.end_to_end.conftest import StartWorker, WorkerProcess
from tests.end_to_end.own_servers import OwnServers
from tests.end_to_end.test_worker_process import logged
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.migrations import migrate
from worker.database.transactions import Database
from worker.queue.tasks import OUTAGE_DEFER_SECONDS
from worker.receipts import Receipt
from worker.settings import Settings

DOWN_SECONDS: Final = 2
MOST_TRIES: Final = 5  # after the end of an outage: one is enough, unless the machine pauses
LOAD_SECONDS: Final = 20  # longer than this test leaves Redis loading
WEIGHTS: Final = 100
PRODUCT: Final = 1


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnServers]:
    own = OwnServers(tmp_path_factory.mktemp("own"))
    await own.redis.start()
    await own.database.start()
    await asyncio.to_thread(migrate, own.database.owner_url)
    async with Database(settings_of(own)) as database:
        await open_shop(database, {PRODUCT: 1000})
    yield own
    await own.database.stop()
    own.redis.stop()


def settings_of(own: OwnServers) -> Settings:
    """Of this process alone, which asks patiently."""
    return Settings(mysql_url=own.database.url, redis_url=own.redis.url, **PATIENT)


class Lane(NamedTuple):
    """A worker with a queue of its own, and a client of it."""

    worker: WorkerProcess
    client: OrderClient

    async def place(self) -> Receipt:
        return await self.client.place(an_order({PRODUCT: 1}))


class Shop:
    """Orders on their way to two workers, of which each has a queue: those of one queue place orders by turns."""

    def __init__(self, own: OwnServers, lanes: Sequence[Lane]) -> None:
        self._own, self._lanes = own, lanes
        self._receipts: list[Receipt] = []

    async def place(self) -> None:
        """One more order in each queue."""
        self._receipts += [await lane.place() for lane in self._lanes]

    async def placed(self) -> None:
        """Until each has its outcome, which is the one that it would have had without the outage."""
        waiting = (receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in self._receipts)
        outcomes = await asyncio.gather(*waiting)
        assert {outcome.status for outcome in outcomes} == {"placed"}

    async def until_deferred(self) -> None:
        """Until each worker has put an order off."""
        await self.until_logged(b'"deferred"')

    async def until_logged(self, what: bytes) -> None:
        async def said() -> bool:
            return all(what in lane.worker.log.read_bytes() for lane in self._lanes)

        await until(said, f"both workers to say {what.decode()}")

    async def recovers(self, what: str) -> None:
        """All orders are placed within a few tries, by the same workers, and no more than once."""
        began, before = time.monotonic(), len(self._deferrals())
        await self.placed()
        seconds = time.monotonic() - began
        print(f"{what}: all orders placed {seconds:.1f} s after its end")  # noqa: T201  # for whoever measures
        deferrals = self._deferrals()
        assert max((line["defer_seconds"] for line in deferrals), default=0) <= OUTAGE_DEFER_SECONDS
        tries = Counter(line["job_id"] for line in deferrals[before:])
        assert max(tries.values(), default=0) < MOST_TRIES, tries
        await self.place()  # and new ones
        await self.placed()
        async with Database(settings_of(self._own)) as database:
            assert not await broken_invariants(database)
        async with open_session(self._own.database.url) as session:
            assert await session.value("SELECT COUNT(*) FROM dead_letters") == 0
        for lane in self._lanes:
            assert lane.worker.process.poll() is None, lane.worker.log.read_text()
            assert b"Traceback" not in lane.worker.log.read_bytes(), lane.worker.log.read_text()

    def _deferrals(self) -> list[dict[str, Any]]:
        return sorted(
            (line for lane in self._lanes for line in logged(lane.worker, "deferred")),
            key=lambda line: str(line["timestamp"]),
        )


@pytest.fixture
async def shop(own: OwnServers, start_worker: StartWorker) -> AsyncIterator[Shop]:
    """With an order placed by each worker, so that all connections stand."""
    async with opened_shop(own, start_worker, mysql_url=own.database.url) as shop:
        yield shop


@asynccontextmanager
async def opened_shop(own: OwnServers, start_worker: StartWorker, **told: Any) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        lanes = []
        for name in ("one", "two"):
            worker = start_worker(**{"redis_url": own.redis.url, "queue_name": name, **told})
            stack.push_async_callback(worker.terminate)  # before its servers, or proxies, end
            client = OrderClient.connect(own.redis.url, queue_name=name)
            lanes.append(Lane(worker, await stack.enter_async_context(client)))
        shop = Shop(own, lanes)
        await shop.place()
        await shop.placed()
        yield shop


@pytest.fixture
async def holder(own: OwnServers) -> AsyncIterator[Session]:
    async with open_session(own.database.owner_url) as session:
        yield session


@pytest.fixture
async def asker(own: OwnServers) -> AsyncIterator[Session]:
    async with open_session(own.database.owner_url) as session:
        yield session


async def hold_orders_in_hand(shop: Shop, holder: Session, asker: Session) -> None:
    """An order of each worker waits inside its transaction."""
    await holder.run("BEGIN")
    await holder.run("SELECT * FROM stock FOR UPDATE")
    await shop.place()
    await until_waiting(asker, 2)


async def test_orders_wait_for_a_database_that_is_killed_and_started_again(
    own: OwnServers, shop: Shop, holder: Session, asker: Session
) -> None:
    await hold_orders_in_hand(shop, holder, asker)
    await own.database.kill()
    await shop.place()
    await shop.until_deferred()
    await own.database.start()
    await shop.recovers("database killed")


async def test_orders_wait_while_the_database_is_read_only_as_after_a_failover(
    shop: Shop, holder: Session, asker: Session
) -> None:
    """Those in hand have their locks by then, and are refused their first write."""
    await hold_orders_in_hand(shop, holder, asker)
    await asker.run("SET GLOBAL read_only = 1")
    try:
        await holder.run("ROLLBACK")
        await shop.place()
        await shop.until_deferred()
        await shop.until_logged(b"1290")
    finally:
        await asker.run("SET GLOBAL read_only = 0")
    await shop.recovers("database read-only")


async def test_orders_wait_while_the_server_takes_no_more_connections(
    own: OwnServers, shop: Shop, asker: Session
) -> None:
    before = await asker.value("SELECT @@max_connections")
    await asker.run("SET GLOBAL max_connections = 10")
    async with AsyncExitStack() as crowd:
        try:
            while workers := [
                row["Id"] for row in await asker.run("SHOW PROCESSLIST") if row["User"] == "lockstep"
            ]:
                for session_id in workers:
                    with suppress(OperationalError):  # it has gone by itself
                        await asker.run(f"KILL {session_id}")
                with pytest.raises(OperationalError, match="1040"):
                    await take_all_places(own, crowd)
            await shop.place()
            await shop.until_deferred()
            await shop.until_logged(b"1040")
        finally:
            await asker.run(f"SET GLOBAL max_connections = {before}")
    await shop.recovers("too many connections")


async def take_all_places(own: OwnServers, crowd: AsyncExitStack) -> None:
    while True:
        await crowd.enter_async_context(open_session(own.database.owner_url))


async def test_orders_wait_while_redis_is_a_replica_as_in_a_failover(
    own: OwnServers, shop: Shop, holder: Session, asker: Session
) -> None:
    """It refuses every write, and breaks off what waits; the orders in hand end meanwhile, and cannot say so."""
    await hold_orders_in_hand(shop, holder, asker)
    async with Redis.from_url(own.redis.url) as redis:
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        await holder.run("ROLLBACK")
        await asyncio.sleep(DOWN_SECONDS)  # how long it lasts is the point
        await redis.execute_command("REPLICAOF", "NO", "ONE")
    await shop.recovers("Redis a replica")


async def test_orders_wait_for_both_servers_and_for_a_redis_that_is_loading(
    own: OwnServers, shop: Shop, holder: Session, asker: Session
) -> None:
    """Both are killed; Redis then reads slowly what it holds, until this test lets it, and refuses everything meanwhile."""
    async with Redis.from_url(own.redis.url) as redis:
        await redis.mset({f"weight:{number}": "x" * 2048 for number in range(WEIGHTS)})
        await redis.bgrewriteaof()

        async def rewritten() -> bool:
            return not (await redis.info("persistence"))["aof_rewrite_in_progress"]

        await until(rewritten, "the append-only file to be rewritten")
    await hold_orders_in_hand(shop, holder, asker)
    own.redis.kill()
    await own.database.kill()
    await own.redis.start(
        "--key-load-delay",
        f"{LOAD_SECONDS * 1_000_000 // WEIGHTS}",  # microseconds for each key
        "--loading-process-events-interval-bytes",
        "1024",
        "--rdbcompression",
        "no",
    )
    async with Redis.from_url(own.redis.url) as redis:
        info = await redis.info("persistence")
        assert info["loading"], info
        await own.database.start()
        await redis.config_set("key-load-delay", 0)

    async def loaded() -> bool:
        async with Redis.from_url(own.redis.url) as redis:
            return not (await redis.info("persistence"))["loading"]

    await until(loaded, "Redis to be loaded")
    await shop.recovers("both killed")


async def test_orders_wait_for_a_network_to_the_database_that_swallows_packets(
    own: OwnServers, start_worker: StartWorker, holder: Session, asker: Session
) -> None:
    """Nothing is closed and nothing comes, in the middle of a transaction: each statement has its limit of time."""
    door = Door(own.database.url)
    async with door.stand() as url, opened_shop(own, start_worker, mysql_url=url) as shop:
        await hold_orders_in_hand(shop, holder, asker)
        door.swallows = True
        await holder.run("ROLLBACK")
        await shop.until_deferred()
        await shop.place()
        door.swallows = False
        await shop.recovers("network to the database silent")


async def test_orders_wait_for_a_network_to_redis_that_swallows_packets(
    own: OwnServers, start_worker: StartWorker
) -> None:
    door = Door(own.redis.url)
    async with (
        door.stand() as url,
        opened_shop(own, start_worker, mysql_url=own.database.url, redis_url=url) as shop,
    ):
        door.swallows = True
        await shop.place()
        await asyncio.sleep(DOWN_SECONDS)  # how long it lasts is the point
        door.swallows = False
        await shop.recovers("network to Redis silent")
