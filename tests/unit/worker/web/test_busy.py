import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from worker.web import busy as module
from worker.web.busy import MOST_RETRY_SECONDS, Busy

LIMIT_SECONDS = 10.0


class Queue:
    """Is as old as the test says, or does not answer."""

    def __init__(self, *waiting_seconds: float | Exception) -> None:
        self.waiting_seconds = list(waiting_seconds)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.looks = 0

    async def read(self) -> float:
        self.looks += 1
        await self.may_answer.wait()
        age = self.waiting_seconds.pop(0)
        if isinstance(age, Exception):
            raise age
        return age


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)


@pytest.mark.parametrize(
    ("waiting_seconds", "retry_seconds"),
    [(0, 0), (10.0, 0), (10.1, 11), (29.0, 29), (3600, MOST_RETRY_SECONDS)],
)
async def test_it_is_worth_coming_again_after_as_long_as_jobs_have_waited(
    waiting_seconds: float, retry_seconds: int
) -> None:
    busy = Busy(Queue(waiting_seconds).read, LIMIT_SECONDS)
    assert await busy.retry_seconds("place") == retry_seconds


async def test_all_who_come_during_a_look_get_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600)
    queue = Queue(20.0)
    busy = Busy(queue.read, LIMIT_SECONDS)
    queue.may_answer.clear()
    asking = [asyncio.create_task(busy.retry_seconds("place")) for _ in range(20)]
    while not queue.looks:
        await asyncio.sleep(0)
    asking[0].cancel()  # the one that has begun it
    queue.may_answer.set()
    cancelled, *found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert found == [20] * 19
    assert await busy.retry_seconds("place") == 20
    assert queue.looks == 1


@pytest.mark.parametrize("error", [RedisConnectionError("refused"), TimeoutError(), OSError("no route")])
async def test_a_queue_whose_age_is_unknown_keeps_no_request_from_waiting(error: Exception) -> None:
    busy = Busy(Queue(20.0, error, error, 20.0).read, LIMIT_SECONDS)
    with capture_logs() as logs:
        assert [await busy.retry_seconds("place") for _ in range(4)] == [20, 0, 0, 20]
    assert [line["event"] for line in logs].count("the age of the queue is unknown") == 1


async def test_a_queue_that_says_nothing_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    queue = Queue()
    queue.may_answer.clear()
    assert await Busy(queue.read, LIMIT_SECONDS).retry_seconds("place") == 0


async def test_the_log_says_once_that_the_workers_are_behind_and_once_that_they_are_not() -> None:
    busy = Busy(Queue(1.0, 20.0, 21.0, 1.0, 1.0).read, LIMIT_SECONDS)
    with capture_logs() as logs:
        for _ in range(5):
            await busy.retry_seconds("place")
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("busy: requests do not wait for outcomes", "warning"),
        ("busy no more", "info"),
    ]


async def test_a_look_that_is_under_way_is_ended_with_the_application() -> None:
    queue = Queue()
    queue.may_answer.clear()
    busy = Busy(queue.read, LIMIT_SECONDS)
    asking = asyncio.create_task(busy.retry_seconds("place"))
    while not queue.looks:
        await asyncio.sleep(0)
    await busy.stop()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await busy.stop()
