"""Does the harm that is planned, and notes when each fault began and ended."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.asking import open_session
from tests.soak.network import Way
from tests.soak.processes import LOOK_SECONDS, Breakable
from tests.soak.schedule import Fault, Kind
from worker.embedded import Servers
from worker.errors import LockstepError

DELAY_SECONDS: Final = 0.05
RESTART_SECONDS: Final = 1.0  # as a supervisor waits before it starts a worker again


@dataclass(frozen=True, slots=True)
class Done:
    """A fault that was done: when it began and ended, in seconds after the start."""

    fault: Fault
    began: float
    ended: float


@dataclass(slots=True)
class Nemesis:
    """Has everything in its hands."""

    clock: Callable[[], float]  # seconds after the start
    servers: Servers  # themselves, not the ways to them
    workers: Sequence[Breakable]
    database: Breakable
    redis: Breakable
    way_to_database: Way
    way_to_redis: Way
    hot_products: Sequence[int]
    done: list[Done] = field(default_factory=list)
    ended_by_themselves: list[str] = field(default_factory=list)

    async def follow(self, faults: Sequence[Fault]) -> None:
        """All of them, each at its time."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(fault.at - self.clock())
                group.create_task(self._do(fault))

    async def keep_all(self) -> None:
        """Start each worker again that has ended by itself. Raises LockstepError where a server has."""
        await asyncio.gather(
            *map(self._keep_worker, self.workers), *map(self._watch_server, (self.database, self.redis))
        )

    async def _keep_worker(self, worker: Breakable) -> None:
        while True:
            await _until_it_has_ended(worker)
            last_words = worker.log.read_text(errors="replace").rstrip().rpartition("\n")[2]
            self.ended_by_themselves.append(
                f"{self.clock():.1f} s, {worker.log.name}, exit code {worker.code}: {last_words}"
            )
            async with worker.in_hand:
                await asyncio.sleep(RESTART_SECONDS)
                await worker.start()

    async def _watch_server(self, server: Breakable) -> None:
        await _until_it_has_ended(server)
        raise LockstepError(f"a server has ended by itself: see {server.log}.")

    async def _do(self, fault: Fault) -> None:
        harmed, harm = self._harm(fault)
        async with harmed.in_hand:  # by no other fault at the same time
            began = self.clock()
            async with harm:
                await asyncio.sleep(fault.seconds)
            self.done.append(Done(fault, began, self.clock()))

    def _harm(self, fault: Fault) -> tuple[Breakable | Way, AbstractAsyncContextManager[None]]:
        worker, database, redis = self.workers[fault.worker], self.database, self.redis
        harms: dict[Kind, tuple[Breakable | Way, AbstractAsyncContextManager[None]]] = {
            Kind.KILL_WORKER: (worker, _down(worker, SIGKILL)),
            Kind.STOP_WORKER: (worker, _down(worker, SIGTERM)),
            Kind.FREEZE_WORKER: (worker, _frozen(worker)),
            Kind.FREEZE_WORKER_LONG: (worker, _frozen(worker)),
            Kind.KILL_DATABASE: (database, _unreachable(self.way_to_database, database)),
            Kind.FREEZE_DATABASE: (database, _frozen(database)),
            Kind.CUT_DATABASE: (self.way_to_database, _cut(self.way_to_database)),
            Kind.DELAY_DATABASE: (self.way_to_database, _slow(self.way_to_database)),
            Kind.SILENCE_DATABASE: (self.way_to_database, _silent(self.way_to_database)),
            Kind.HOLD_ROWS: (database, self._rows_held()),
            Kind.KILL_REDIS: (redis, _unreachable(self.way_to_redis, redis)),
            Kind.FREEZE_REDIS: (redis, _frozen(redis)),
            Kind.CUT_REDIS: (self.way_to_redis, _cut(self.way_to_redis)),
            Kind.DELAY_REDIS: (self.way_to_redis, _slow(self.way_to_redis)),
            Kind.SILENCE_REDIS: (self.way_to_redis, _silent(self.way_to_redis)),
            Kind.FLUSH_REDIS: (redis, self._flushed()),
        }
        return harms[fault.kind]

    @asynccontextmanager
    async def _rows_held(self) -> AsyncIterator[None]:
        products = ", ".join(map(str, self.hot_products))
        async with open_session(self.servers.mysql_url) as stranger:
            await stranger.run("BEGIN")
            # Those that are free: it must not wait itself.
            await stranger.run(f"SELECT * FROM stock WHERE product_id IN ({products}) FOR UPDATE SKIP LOCKED")
            yield
            await stranger.run("ROLLBACK")

    @asynccontextmanager
    async def _flushed(self) -> AsyncIterator[None]:
        patience = Retry(ExponentialBackoff(cap=1.0, base=0.1), retries=30)  # another fault may have ended it
        async with Redis.from_url(
            self.servers.redis_url, retry=patience, retry_on_error=[RedisConnectionError]
        ) as redis:
            await redis.flushall()
        yield


async def _until_it_has_ended(process: Breakable) -> None:
    """And not by our hand."""
    while process.code is None or process.in_hand.locked():
        await asyncio.sleep(LOOK_SECONDS)


# None of these mends anything when the soak is broken off: then everything ends.


@asynccontextmanager
async def _down(process: Breakable, how: Signals) -> AsyncIterator[None]:
    await process.end(how)
    yield
    await process.start()


@asynccontextmanager
async def _unreachable(way: Way, server: Breakable) -> AsyncIterator[None]:
    """Connections are refused, as by a machine whose server is down."""
    await way.shut()
    async with _down(server, SIGKILL):
        yield
    await way.open()


@asynccontextmanager
async def _frozen(process: Breakable) -> AsyncIterator[None]:
    process.tell(SIGSTOP)
    yield
    process.tell(SIGCONT)


@asynccontextmanager
async def _cut(way: Way) -> AsyncIterator[None]:
    await way.cut()
    yield


@asynccontextmanager
async def _slow(way: Way) -> AsyncIterator[None]:
    way.delay_seconds = DELAY_SECONDS
    yield
    way.delay_seconds = 0.0


@asynccontextmanager
async def _silent(way: Way) -> AsyncIterator[None]:
    way.swallows = True
    yield
    way.swallows = False
    await way.cut()  # what was swallowed is missing in the middle of what these connections say
