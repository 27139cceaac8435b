"""Events from real workers to those who read them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from arq.connections import ArqRedis

from tests.asking import PATIENCE_SECONDS, PATIENT, Session, until, until_waiting
from tests.end_to_end.conftest import StartWorker
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.settings import Settings

README: Final = Path(__file__).resolve().parents[2] / "README.md"
EXAMPLE: Final = re.compile(r"^## Events\n.*?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@contextmanager
def the_readmes_reader(redis_url: str, name: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program as it stands in the README."""
    found = EXAMPLE.search(README.read_text(encoding="utf-8"))
    assert found
    environment = {"REDIS_URL": redis_url, "HOSTNAME": name}
    with output.open("ab") as lines:
        process = subprocess.Popen(
            [sys.executable, "-c", found[1]], env=environment, stdout=lines, stderr=lines
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def read(output: Path) -> list[list[str]]:
    """What the reader has printed: event id, kind and body each."""
    return [line.split(" ", 2) for line in output.read_text(encoding="utf-8").splitlines()]


async def until_read(output: Path, count: int) -> list[list[str]]:
    """Wait for exactly so many lines."""

    async def enough() -> bool:
        return len(read(output)) >= count

    await until(enough, f"{count} lines of the reader")
    assert len(read(output)) == count, read(output)
    return read(output)


async def test_a_service_reads_every_event_once_by_the_example_of_the_readme(
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    """Also what a reader was given that died before it said that it was done, and what came while nobody read."""
    await open_shop(database, {1: 5})
    start_worker(**PATIENT)
    output = tmp_path / "read"
    async with OrderClient.connect(settings.redis_url) as client:
        placed, rejected = an_order({1: 2}), an_order({1: 9})
        with the_readmes_reader(settings.redis_url, "one", output):
            for order in (placed, rejected):
                await (await client.place(order)).outcome(timeout=PATIENCE_SECONDS)
            first = await until_read(output, 2)
        await (await client.cancel(placed.order_id)).outcome(timeout=PATIENCE_SECONDS)

        async def published() -> bool:
            return bool(await redis.xlen("lockstep:events") == 3)

        await until(published, "the cancellation to be published")
        await redis.xreadgroup("mailer", "two", {"lockstep:events": ">"})  # died then
        with the_readmes_reader(settings.redis_url, "two", output):
            _, _, last = await until_read(output, 3)
    assert {kind for _, kind, _ in first} == {"order.placed", "order.rejected"}
    cancelled = {
        "status": "cancelled",
        "order_id": str(placed.order_id),
        "lines": [{"product_id": 1, "quantity": 2}],
    }
    assert last[1:] == ["order.cancelled", str(cancelled)]
    assert (await redis.xpending("lockstep:events", "mailer"))["pending"] <= 1


async def test_a_worker_that_was_killed_leaves_its_events_to_the_others(
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    session: Session,
    other_session: Session,
    start_worker: StartWorker,
) -> None:
    """It dies while it publishes: Redis takes no writes meanwhile."""
    await open_shop(database, {1: 500})
    worker = start_worker(**PATIENT)
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock FOR UPDATE")
    async with OrderClient.connect(settings.redis_url) as client:
        orders = [an_order({1: 1}) for _ in range(300)]
        assert len([receipt async for receipt in client.place_many(orders, chunk=300)]) == 300
    await until_waiting(other_session, 1)
    await redis.client_pause(60_000, all=False)
    await session.run("COMMIT")

    async def recorded() -> bool:
        return bool(await session.value("SELECT COUNT(*) = 300 FROM outbox"))

    await until(recorded, "all orders to be committed")
    worker.kill()
    await redis.client_unpause()
    assert await recorded()
    start_worker(**PATIENT)
    start_worker(**PATIENT)

    async def empty() -> bool:
        return not await session.value("SELECT COUNT(*) FROM outbox")

    await until(empty, "all events to be published")
    told = [entry[b"order_id"].decode() for _, entry in await redis.xrange("lockstep:events")]
    assert sorted(told) == sorted(str(order.order_id) for order in orders)
    assert not await broken_invariants(database)
