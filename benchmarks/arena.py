"""Where a round takes place: the servers, and what surrounds every measurement."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arq.connections import ArqRedis
from arq.constants import default_queue_name

from benchmarks.crews import Workers
from benchmarks.drain import STAGED, Drained, drain, fill
from benchmarks.loads import Load
from benchmarks.shop import find_faults, refill
from worker.database.transactions import Database
from worker.embedded import Servers
from worker.errors import LockstepError
from worker.queue.connection import open_queue
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured in a round."""

    data: Path  # a folder like samples/journey
    rounds: int
    orders: int  # of the slowest; the others place some times as many
    latency_seconds: float
    idle_seconds: float
    starved_seconds: float = 0.0


@dataclass(slots=True)
class Arena:
    """Private servers, and the connections of the harness to them."""

    servers: Servers
    folder: Path
    size: Size
    database: Database
    queue: ArqRedis
    staging: ArqRedis
    recorded: dict[int, list[Path]] = field(default_factory=dict)  # the limit's statements, by batch
    checks: int = 0  # how often all was well after a round

    async def prepare(self, load: Load) -> None:
        """The shop of this load, no order in it, and nothing in Redis."""
        await refill(self.database, self.servers.migration_url, load)
        await self.queue.flushdb()

    async def drain(self, workers: Workers, load: Load, chunk: int) -> Drained:
        """Idle workers get a full queue, and empty it."""
        await fill(self.staging, load.orders, chunk)
        await workers.wait_until_idle()
        return await drain(self.queue, workers, len(load.orders))

    async def rate(self, workers: Workers, load: Load, chunk: int) -> float:
        """Orders a second of idle workers on a full queue."""
        return len(load.orders) / (await self.drain(workers, load, chunk)).seconds

    async def check(self, load: Load) -> None:
        """Raise LockstepError unless every order has one outcome and every invariant holds."""
        if faults := await find_faults(self.database, {order.order_id.hex for order in load.orders}):
            raise LockstepError("; ".join(faults))
        self.checks += 1


@asynccontextmanager
async def open_arena(servers: Servers, folder: Path, size: Size) -> AsyncIterator[Arena]:
    """The connections of the harness; the tables exist."""
    settings = Settings(
        mysql_url=servers.mysql_url,
        redis_url=servers.redis_url,
        statement_seconds=60,  # an audit reads whole tables
        transaction_seconds=120,
        job_seconds=180,
    )
    queue = await open_queue(servers.redis_url, default_queue_name)
    staging = await open_queue(servers.redis_url, STAGED)
    try:
        async with Database(settings) as database:
            yield Arena(servers, folder, size, database, queue, staging)
    finally:
        await staging.aclose()
        await queue.aclose()
