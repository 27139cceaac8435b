"""Records of the seconds in a real Redis: each event and each count once, and all of it gone after five minutes."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.outbox import RecordedEvent
from tests.integration.conftest import Streams
from tests.integration.patience import NEVER
from tests.shop import an_order, open_shop
from worker import metrics
from worker.database.transactions import Database
from worker.probes import Health
from worker.queue import seconds
from worker.queue.crew import Crew
from worker.queue.event_stream import EventStream
from worker.queue.idempotency import place_once
from worker.queue.relay import Relay
from worker.queue.seconds import Additions, Record, packed, read_clock, read_records, unpacked
from worker.queue.vitals import Pulse

QUEUE, STREAM = "arq:queue", "lockstep:events"
PLACED = RecordedEvent(
    1, UUID(int=1).hex, "order.placed", {"lines": [[7, 2, 100], [9, 1, 5]]}, "2026-01-01 00:00:00"
)
REJECTED = RecordedEvent(
    2, UUID(int=2).hex, "order.rejected", {"reason": "credit_limit"}, "2026-01-01 00:00:00"
)
CANCELLED = RecordedEvent(
    3, UUID(int=1).hex, "order.cancelled", {"lines": [[7, 2], [9, 1]]}, "2026-01-01 00:00:00"
)


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than a test lasts."""
    monkeypatch.setattr(seconds, "KEEP_SECONDS", 2 * NEVER)


async def read(redis: ArqRedis) -> dict[int, Record]:
    now = int(await read_clock(redis))
    return await read_records(redis, QUEUE, STREAM, range(now - NEVER, now + 1), products_from=0)


async def counts(redis: ArqRedis) -> Counter[str]:
    """Of all seconds together."""
    return sum((Counter(record.counts) for record in (await read(redis)).values()), Counter())


async def products(redis: ArqRedis) -> Counter[int]:
    return Counter(each for record in (await read(redis)).values() for each in unpacked(record.products))


async def test_events_are_counted_by_what_became_of_the_order(stream: EventStream, redis: ArqRedis) -> None:
    began = await read_clock(redis)
    await stream.publish([PLACED, REJECTED, CANCELLED])
    ended = await read_clock(redis)
    (found,) = [(second, record) for second, record in (await read(redis)).items() if record.counts]
    assert int(began) <= found[0] <= int(ended)
    assert found[1].counts == {"placed": 1, "rejected:credit_limit": 1, "cancelled": 1}
    assert unpacked(found[1].products) == (7, 9), "a cancellation takes nothing"


async def test_an_event_that_is_published_again_is_not_counted_again(
    streams: Streams, redis: ArqRedis
) -> None:
    other = RecordedEvent(4, UUID(int=4).hex, "order.placed", {"lines": [[7, 1, 1]]}, "2026-01-01 00:00:00")
    first, second = streams(STREAM, 100), streams(STREAM, 100)
    assert await first.publish([PLACED, REJECTED]) == 2
    assert await second.publish([PLACED, other, REJECTED]) == 1
    assert await first.publish([other]) == 0
    assert await counts(redis) == {"placed": 2, "rejected:credit_limit": 1}
    assert await products(redis) == {7: 2, 9: 1}


async def test_a_crash_between_publishing_and_the_commit_counts_nothing_twice(
    database: Database, redis: ArqRedis, stream: EventStream
) -> None:
    await open_shop(database, {1: 2, 2: 9})
    orders = [an_order({1: 1, 2: 1}), an_order({1: 1}), an_order({1: 1})]
    await place_once(database, orders, job="test")

    class DiesThen:
        async def publish(self, events: Sequence[RecordedEvent]) -> int:
            await stream.publish(events)
            raise ConnectionResetError("the answer is lost")

    with pytest.raises(ConnectionResetError):
        await Relay(database, DiesThen()).relay_batch()
    taken = await read_taken(database, orders[0].order_id)
    assert isinstance(taken, Taken)
    await database.transact(partial(cancel_order, taken=taken), job="test")
    for _ in range(2):
        await Relay(database, stream).relay_batch()
    assert await counts(redis) == {"placed": 2, "rejected:insufficient_stock": 1, "cancelled": 1}
    assert await products(redis) == {1: 2, 2: 1}


async def test_of_a_page_that_fails_half_way_what_was_published_is_counted(
    stream: EventStream, redis: ArqRedis
) -> None:
    later = RecordedEvent(512, UUID(int=9).hex, "order.placed", {"lines": [[9, 1, 1]]}, "2026-01-01 00:00:00")
    await redis.set(f"{STREAM}:published:1", "no set")
    for _ in range(2):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await stream.publish([PLACED, later])
    assert await redis.xlen(STREAM) == 1
    assert await counts(redis) == {"placed": 1}
    assert await products(redis) == {7: 1, 9: 1}
    await redis.delete(f"{STREAM}:published:1")
    assert await stream.publish([PLACED, later]) == 1
    assert await counts(redis) == {"placed": 2}


async def test_records_expire_after_five_minutes(
    stream: EventStream, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seconds, "KEEP_SECONDS", 330)
    await stream.publish([PLACED])
    await Additions(redis, QUEUE, "shop:1:0", {}).add({"deferred:restock": 1}, jobs=3)
    kept = [*await redis.keys("*:second:*"), *await redis.keys("*:beat:*")]
    assert len(kept) == 4
    for key in kept:
        assert 300 < await redis.ttl(key) <= 330, key


async def test_a_worker_adds_what_it_has_counted_since(redis: ArqRedis) -> None:
    additions = Additions(redis, QUEUE, "shop:1:0", {"conflict:1213:lock_stock": 5})
    await additions.add({"conflict:1213:lock_stock": 7, "deferred:restock": 1}, jobs=30)
    await additions.add({"conflict:1213:lock_stock": 7, "deferred:restock": 3}, jobs=0)
    await Additions(redis, QUEUE, "shop:2:0", {}).add({"deferred:restock": 10}, jobs=0)
    found = await counts(redis)
    found.pop("jobs", None)
    assert found == {"conflict:1213:lock_stock": 2, "deferred:restock": 13}


async def test_an_addition_whose_answer_was_lost_is_added_once(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    additions = Additions(redis, QUEUE, "shop:1:0", {})
    add, lost = additions._add, True

    async def lose_the_answer(*arguments: Any) -> None:
        await add(*arguments)
        if lost:
            raise RedisConnectionError("cut off")

    monkeypatch.setattr(additions, "_add", lose_the_answer)
    for counted in (1, 2):
        with pytest.raises(RedisConnectionError):
            await additions.add({"deferred:restock": counted}, jobs=1)
    lost = False
    await additions.add({"deferred:restock": 5}, jobs=1)
    assert (await counts(redis))["deferred:restock"] == 5


async def test_a_worker_that_starts_again_under_the_same_id_is_another_one(redis: ArqRedis) -> None:
    """In a container the process id is the same each time."""
    for _ in range(2):
        await Additions(redis, QUEUE, "shop:1:0", {}).add({"deferred:restock": 1}, jobs=0)
    assert (await counts(redis))["deferred:restock"] == 2


async def test_a_worker_that_stops_adds_its_last_second(redis: ArqRedis, database: Database) -> None:
    pulse = Pulse(redis, database, Health(), Crew())
    metrics.DEFERRED.labels("restock").inc()
    await pulse.stop()
    assert (await counts(redis))["deferred:restock"] == 1


async def test_two_workers_on_one_stream_count_what_their_own_relay_has_published(
    database: Database, redis: ArqRedis, streams: Streams
) -> None:
    await open_shop(database, {1: 100})
    relays = [Relay(database, streams(STREAM, 100)) for _ in range(2)]
    for number in range(6):
        await place_once(database, [an_order({1: 1})], job="test")
        await relays[number % 2].relay_batch()
    assert await counts(redis) == {"placed": 6}


async def test_fields_that_a_reader_does_not_know_do_not_disturb_it(
    redis: ArqRedis, stream: EventStream
) -> None:
    await stream.publish([PLACED])
    (second,) = [second for second, record in (await read(redis)).items() if record.counts]
    key = f"{STREAM}:second:{second}"
    for field, value in {"invented": "5", "text": "no number", "\xff": "1"}.items():
        await redis.execute_command("HSET", key, field.encode("latin-1"), value)  # type: ignore[no-untyped-call]  # redis-py has no type for it
    found = (await read(redis))[second].counts
    assert (found["placed"], found["invented"]) == (1, 5)
    assert "text" not in found


async def test_a_product_takes_eight_bytes_of_each_order(stream: EventStream, redis: ArqRedis) -> None:
    largest = 2**63 - 1
    assert unpacked(packed([1, largest]) + packed([1])) == (1, largest, 1)
    events = [PLACED._replace(event_id=number, order_id=UUID(int=number).hex) for number in range(1, 501)]
    await stream.publish(events)
    (key,) = await redis.keys("*:products")
    assert await redis.strlen(key) == 500 * 2 * 8
