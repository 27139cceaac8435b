import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from arq.connections import ArqRedis

from worker.queue.results import (
    LONGEST_POLL_SECONDS,
    POLL_SECONDS,
    REST_TIMES,
    Result,
    Results,
    read_result,
)
from worker.queue.wire import serialize

DONE = {"f": "place_order", "a": [{"order_id": "x"}], "k": {}, "s": True, "r": {"status": "placed"}}


class FakeRedis:
    """Does something while it is asked, and then says that every job is done."""

    default_queue_name = "arq:queue"

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.meanwhile = meanwhile

    async def zmscore(self, queue: str, members: Sequence[str]) -> list[Any]:
        assert queue == self.default_queue_name
        return [1.0 for _ in members]

    async def mget(self, keys: Sequence[str]) -> list[bytes]:
        self.meanwhile()
        return [serialize(DONE) for _ in keys]


def test_a_result_is_the_outcome_and_the_request() -> None:
    assert read_result(serialize(DONE)) == Result(True, {"status": "placed"}, [{"order_id": "x"}])


@pytest.mark.parametrize("data", [b"\xc1", b"", serialize({"s": True}), serialize({}), b"\x90", b"\x07"])
def test_a_result_that_cannot_be_read_is_one_of_a_job_given_up(data: bytes) -> None:
    result = read_result(data)
    assert not result.succeeded
    assert result.content.startswith("its result cannot be read (")
    assert result.arguments == []


@pytest.mark.parametrize("error", [None, ConnectionError("Redis is down")])
async def test_a_waiter_that_is_cancelled_while_redis_answers_stays_cancelled(
    error: Exception | None,
) -> None:
    def meanwhile() -> None:
        first.cancel()
        if error:
            raise error

    results = Results(cast("ArqRedis", FakeRedis(meanwhile)))
    first, second = (asyncio.create_task(results.of("a job")) for _ in range(2))
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1] == (error or read_result(serialize(DONE)))
    await results.stop()


async def test_the_longer_a_look_takes_the_longer_the_rest_behind_it() -> None:
    """A client with thousands of waiters, or with little CPU, would do nothing but look."""
    look_seconds, looks = 2 * POLL_SECONDS, 5

    class SlowRedis(FakeRedis):
        async def mget(self, keys: Sequence[str]) -> list[bytes]:
            begun.append(asyncio.get_running_loop().time())
            await asyncio.sleep(look_seconds)
            done = len(begun) > looks
            return [serialize(DONE) if done else None for _ in keys]  # type: ignore[misc]  # as Redis answers

    begun: list[float] = []
    results = Results(cast("ArqRedis", SlowRedis(lambda: None)))
    await results.of("a job")
    await results.stop()
    assert begun[-1] - begun[1] >= (looks - 1) * (1 + REST_TIMES) * look_seconds
    assert REST_TIMES * look_seconds < LONGEST_POLL_SECONDS
