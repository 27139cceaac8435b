"""The relay as it runs inside a worker: woken, at rest, and beside servers that are away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from arq.connections import ArqRedis

from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.outbox import RecordedEvent
from jobs.transaction import Parameters, Row, Statement
from tests.asking import PATIENCE_SECONDS, Session, until
from tests.integration.conftest import Streams, entries
from tests.integration.patience import NEVER
from tests.lab.traps.proxy import Proxy
from tests.lab.traps.redis_door import Door
from tests.shop import an_order, broken_invariants, open_shop
from worker.database.transactions import Database
from worker.queue import relay as module
from worker.queue.event_stream import EventStream
from worker.queue.idempotency import place_once
from worker.queue.relay import Relay
from worker.settings import Settings


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    relay.start()
    try:
        yield
    finally:
        await relay.stop()


async def place(database: Database) -> None:
    await place_once(database, [an_order({1: 1})], job="test")


async def until_published(redis: ArqRedis, count: int) -> None:
    async def enough() -> bool:
        return len(await entries(redis)) >= count

    await until(enough, f"{count} events")
    assert len(await entries(redis)) == count


class Looks(Database):
    """Counts how often a relay looks for events."""

    count = 0

    async def fetch_once(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        rows = await super().fetch_once(statement, parameters)
        self.count += statement.name == "next_events"
        return rows


@pytest.fixture
def is_at_rest(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether a relay waits for nothing but a commit."""
    resting: list[float] = []

    @asynccontextmanager
    async def noted(seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(seconds):
            resting.append(seconds)
            try:
                yield
            finally:
                resting.remove(seconds)

    monkeypatch.setattr(module, "IDLE_SECONDS", NEVER)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "timeout": noted}))
    return lambda: NEVER in resting


async def test_a_commit_of_its_own_worker_wakes_an_idle_relay(
    settings: Settings, redis: ArqRedis, stream: EventStream, is_at_rest: Callable[[], bool]
) -> None:
    """Its own commit is the last one that it looks after."""
    async with Looks(settings) as database, running(Relay(database, stream)):
        await open_shop(database, {1: 50})
        for number in range(1, 4):
            await place(database)
            await until_published(redis, number)
        published = database.count

        async def rests() -> bool:
            return is_at_rest() and not database.committed.is_set()

        await until(rests, "the relay to wait for a commit")
        assert database.count - published <= 2
        assert not await broken_invariants(database)


async def test_an_idle_relay_finds_what_other_workers_have_left(
    settings: Settings, database: Database, redis: ArqRedis, stream: EventStream
) -> None:
    await open_shop(database, {1: 5})
    async with Database(settings) as its_own, running(Relay(its_own, stream)):
        await place(database)
        await until_published(redis, 1)


async def until_it_rests(database: Looks) -> None:
    """After its first look, which has found nothing."""

    async def has_looked() -> bool:
        return database.count > 0

    await until(has_looked, "the relay to look")
    database.count = 0


async def test_a_relay_that_is_stopped_publishes_what_is_there(
    settings: Settings, redis: ArqRedis, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events of an order one after the other, and more than one batch takes."""
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    monkeypatch.setattr(module, "GATHER_SECONDS", NEVER)
    monkeypatch.setattr(module, "IDLE_SECONDS", 2 * NEVER)
    async with Looks(settings) as database:
        await open_shop(database, {1: 50})
        async with running(Relay(database, stream)):
            await until_it_rests(database)
            orders = [an_order({1: 1}) for _ in range(5)]
            await place_once(database, orders, job="test")
            taken = await read_taken(database, orders[0].order_id)
            assert isinstance(taken, Taken)
            await database.transact(partial(cancel_order, taken=taken), job="test")
        kinds = [entry["kind"] for entry in await entries(redis)]
        assert kinds == ["order.placed"] * 5 + ["order.cancelled"]
        assert not await broken_invariants(database)


async def test_a_relay_that_is_stopped_waits_for_no_stream_that_says_nothing(
    settings: Settings, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(module, "GATHER_SECONDS", NEVER)

    class Silent:
        async def publish(self, _: Sequence[RecordedEvent]) -> int:
            return await asyncio.Future()

    async with Looks(settings) as database:
        await open_shop(database, {1: 5})
        with structlog.testing.capture_logs() as logs:
            async with running(Relay(database, Silent())):
                await until_it_rests(database)
                await place(database)
        assert told(logs) == [("warning", "events wait")]
        assert not await entries(redis)
        assert not await broken_invariants(database), "the event is in the outbox"


async def test_a_relay_that_has_not_begun_has_nothing_to_end(settings: Settings, stream: EventStream) -> None:
    async with Looks(settings) as database:
        await Relay(database, stream).stop()
        assert database.count == 0


async def test_many_small_commits_share_batches(
    settings: Settings, redis: ArqRedis, stream: EventStream
) -> None:
    async with Looks(settings) as database:
        await open_shop(database, {1: 500})
        started = time.monotonic()
        async with running(Relay(database, stream)):
            for _ in range(100):
                await place(database)
            await until_published(redis, 100)
        # Besides one per rest: the first, and at the end one for what has just come, and one that finds none.
        assert database.count <= 3 + (time.monotonic() - started) / module.GATHER_SECONDS


async def test_a_backlog_goes_without_rests(
    database: Database, redis: ArqRedis, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    monkeypatch.setattr(module, "GATHER_SECONDS", NEVER)
    await open_shop(database, {1: 50})
    await place_once(database, [an_order({1: 1}) for _ in range(7)], job="test")
    async with running(Relay(database, stream)):
        await until_published(redis, 7)


async def test_while_redis_is_away_events_wait_and_the_log_says_so_once(
    settings: Settings, database: Database, redis: ArqRedis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    door = Door(settings.redis_url)
    await open_shop(database, {1: 5})
    async with door.stand() as url:
        stream = EventStream(url, settings.events_stream, settings.events_kept)
        tries = Counting(stream)
        with structlog.testing.capture_logs() as logs:
            async with running(Relay(database, tries)):
                await place(database)
                await until_published(redis, 1)
                await door.shut()
                await place(database)
                await tries.until(4)
                await door.open()
                await until_published(redis, 2)
                await until_told(logs, "events go on")
        await stream.close()
    assert told(logs) == [("warning", "events wait"), ("info", "events go on")]
    assert not await broken_invariants(database)


class Counting:
    """Counts how often it is asked to publish."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._count = 0

    async def publish(self, events: Sequence[RecordedEvent]) -> int:
        self._count += 1
        return await self._stream.publish(events)

    async def until(self, count: int) -> None:
        async def enough() -> bool:
            return self._count >= count

        await until(enough, f"{count} tries")


def told(logs: Sequence[Any]) -> list[tuple[str, str]]:
    return [(entry["log_level"], entry["event"]) for entry in logs if entry["event"].startswith("events ")]


async def until_told(logs: Sequence[Any], event: str) -> None:
    async def is_told() -> bool:
        return event in [name for _, name in told(logs)]

    await until(is_told, f"the log to say {event!r}")


async def test_while_the_database_is_away_the_log_says_so_once(
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    stream: EventStream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody gets in: new connections have no greeting, and those that are there are ended."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    await open_shop(database, {1: 5})
    async with Proxy.before(settings.mysql_url) as proxy:
        proxy.gate.clear()
        away = settings.model_copy(update={"mysql_url": proxy.mysql_url, "connection_seconds": 0.1,
                                           "transaction_seconds": 0.1})  # fmt: skip
        with structlog.testing.capture_logs() as logs:
            async with Database(away) as cut_off, running(Relay(cut_off, stream)):
                await place(database)
                await until_told(logs, "events wait")
                await proxy.stalled.wait()
                # From here on a server that is slow is not one that is away.
                cut_off._connections._settings = settings.model_copy(update={"mysql_url": proxy.mysql_url})
                proxy.gate.set()
                await until_published(redis, 1)
                await until_told(logs, "events go on")
    assert told(logs) == [("warning", "events wait"), ("info", "events go on")]


async def test_an_error_that_nobody_thought_of_is_logged_with_its_trace_and_ends_nothing(
    database: Database,
    session: Session,
    redis: ArqRedis,
    stream: EventStream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    await open_shop(database, {1: 5})

    class Broken:
        mended = False

        async def publish(self, events: Sequence[RecordedEvent]) -> int:
            if not self.mended:
                raise KeyError("a bug")
            return await stream.publish(events)

    broken = Broken()
    with structlog.testing.capture_logs() as logs:
        async with running(Relay(database, broken)):
            await place(database)
            await until_told(logs, "events wait")
            broken.mended = True
            await until_published(redis, 1)
    (first, *_) = [entry for entry in logs if entry["event"] == "events wait"]
    assert (first["error"], first["exc_info"]) == ("KeyError: 'a bug'", True)


async def test_events_that_are_late_are_told_once_by_the_clock_of_the_server(
    database: Database, session: Session, redis: ArqRedis, stream: EventStream
) -> None:
    await open_shop(database, {1: 5})
    await place(database)
    await session.run("UPDATE outbox SET recorded_at = UTC_TIMESTAMP(6) - INTERVAL 90 SECOND")
    relay = Relay(database, stream)
    with structlog.testing.capture_logs() as logs:
        await relay.relay_batch()
        late = relay.lag_seconds
        await relay.relay_batch()
    assert 90 <= late < 90 + PATIENCE_SECONDS
    assert relay.lag_seconds == 0
    assert told(logs) == [("warning", "events are late"), ("info", "events are in time again")]
