from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis

from jobs.outbox import RecordedEvent
from worker.queue import event_tail
from worker.queue.event_stream import EventStream
from worker.queue.event_tail import EventTail, Tail


async def publish(stream: EventStream, *numbers: int) -> None:
    await stream.publish(
        [
            RecordedEvent(number, uuid4().hex, "order.placed", {"number": number}, "2026-01-01 00:00:00")
            for number in numbers
        ]
    )


def numbers(tail: Tail) -> list[int]:
    return [event.body["number"] for event in tail.events]


async def test_the_first_reading_goes_back_a_minute_and_the_next_ones_go_on(
    redis: ArqRedis, stream: EventStream
) -> None:
    seconds, _ = await redis.time()
    old: dict[Any, Any] = {"kind": "order.placed", "body": '{"number": 0}'}
    await redis.xadd("lockstep:events", old, id=f"{(seconds - 61) * 1000}-0")
    await publish(stream, 1, 2)
    tail = EventTail(redis, "lockstep:events")
    first = await tail.read()
    assert numbers(first) == [2, 1]
    assert {event.kind for event in first.events} == {"order.placed"}
    assert all(seconds <= event.published_at <= first.at for event in first.events)
    assert numbers(await tail.read()) == []
    await publish(stream, 3)
    assert numbers(await tail.read()) == [3]


async def test_without_a_stream_there_is_nothing(redis: ArqRedis, stream: EventStream) -> None:
    tail = EventTail(redis, "lockstep:events")
    assert (await tail.read()).events == []
    await publish(stream, 1)
    assert numbers(await tail.read()) == [1]


async def test_where_there_are_too_many_the_oldest_are_passed_over(
    redis: ArqRedis, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_tail, "MOST_EVENTS", 3)
    tail = EventTail(redis, "lockstep:events")
    await publish(stream, *range(1, 6))
    many = await tail.read()
    assert (numbers(many), many.cut) == ([5, 4, 3], True)
    await publish(stream, 6, 7)
    few = await tail.read()
    assert (numbers(few), few.cut) == ([7, 6], False)
