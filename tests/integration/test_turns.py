"""Of all workers of a queue so many at a time have a turn; a worker that dies, and a Redis that is down, hold up no other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final, cast

import pytest
import structlog
from arq.connections import ArqRedis

from tests.asking import PATIENCE_SECONDS, until
from tests.integration.conftest import QUEUE
from tests.integration.patience import NEVER
from tests.lab.traps.redis_door import Door
from worker.embedded import Servers
from worker.queue import turns as module
from worker.queue.turns import RedisTurns
from worker.settings import Settings

TURN_SECONDS: Final = module.TURN_SECONDS  # as in production
KEEP_SECONDS: Final = module.KEEP_SECONDS
AT_A_TIME: Final = module.AT_A_TIME
TURN: Final = f"{QUEUE}:turn"
WAITING: Final = f"{QUEUE}:turn:waiting"
NOWHERE: Final = "redis://127.0.0.1:1/0"
MakeTurns = Callable[..., RedisTurns]


@pytest.fixture(autouse=True)
def _endless_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """None ends by itself, and there is one at a time, unless a test says so."""
    monkeypatch.setattr(module, "TURN_SECONDS", NEVER)
    monkeypatch.setattr(module, "AT_A_TIME", 1)


@pytest.fixture
async def make_turns(settings: Settings) -> AsyncIterator[MakeTurns]:
    """Of a worker each."""
    opened: list[RedisTurns] = []

    def make(url: str = settings.redis_url, queue_name: str = QUEUE) -> RedisTurns:
        opened.append(RedisTurns(url, queue_name))
        return opened[-1]

    yield make
    for turns in opened:
        await turns.close()


class Visit:
    """A worker that has the turn from when `begun` is set until `go` is."""

    def __init__(self, turns: RedisTurns) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._stay(turns))

    async def _stay(self, turns: RedisTurns) -> None:
        async with turns.turn():
            self.begun.set()
            await self.go.wait()

    async def begins(self) -> None:
        await asyncio.wait_for(self.begun.wait(), PATIENCE_SECONDS)

    async def ends(self) -> None:
        self.go.set()
        await asyncio.wait_for(self.task, PATIENCE_SECONDS)


async def until_waiting(redis: ArqRedis, count: int) -> None:
    async def enough() -> bool:
        # redis-py's type is of both its clients
        return bool(await cast("Any", redis).llen(WAITING) == count)

    await until(enough, f"{count} workers to wait for their turn")


@pytest.mark.parametrize("at_a_time", [1, AT_A_TIME])
async def test_so_many_at_a_time_have_a_turn(
    at_a_time: int, make_turns: MakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", at_a_time)
    inside = most = blocks = 0
    together = asyncio.Barrier(at_a_time)  # the first ones have it at once

    async def work(turns: RedisTurns) -> None:
        nonlocal inside, most, blocks
        for _ in range(10):
            async with turns.turn():
                inside += 1
                most = max(most, inside)
                if not blocks:
                    await together.wait()
                await asyncio.sleep(0)
                blocks += 1
                inside -= 1

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(work(make_turns()) for _ in range(5)))
    assert (most, blocks) == (at_a_time, 50)


async def test_queues_have_turns_of_their_own(make_turns: MakeTurns) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with make_turns().turn(), make_turns(queue_name="other").turn():
            pass


async def test_workers_have_it_in_the_order_in_which_they_asked_and_none_starves(
    redis: ArqRedis, make_turns: MakeTurns
) -> None:
    """Who had it and wants it again waits behind all others."""
    first, *others = workers = [make_turns() for _ in range(4)]
    holder = Visit(first)
    await holder.begins()
    visits = []
    for number, turns in enumerate(others):
        visits.append(Visit(turns))
        await until_waiting(redis, number + 1)
    await holder.ends()
    visits.append(Visit(workers[0]))
    await visits[0].begins()
    await until_waiting(redis, 3)
    for number, visit in enumerate(visits):
        await visit.begins()
        assert not any(later.begun.is_set() for later in visits[number + 1 :])
        await visit.ends()


async def test_the_turn_ends_with_its_block_also_when_that_fails(make_turns: MakeTurns) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(KeyError):
            async with make_turns().turn():
                raise KeyError("a bug")
        async with make_turns().turn():
            pass


async def test_a_wait_that_is_cancelled_leaves_the_line(redis: ArqRedis, make_turns: MakeTurns) -> None:
    """Its worker lives, and would have the turn without wanting it."""
    holder, leaver, other = make_turns(), make_turns(), make_turns()
    having = Visit(holder)
    await having.begins()
    leaving = Visit(leaver)
    await until_waiting(redis, 1)
    waiting = Visit(other)
    await until_waiting(redis, 2)
    leaving.task.cancel()
    with suppress(asyncio.CancelledError):
        await leaving.task
    await leaver.close()
    await having.ends()
    await waiting.begins()
    await waiting.ends()


async def test_a_worker_that_dies_while_it_waits_is_passed_over(
    servers: Servers, redis: ArqRedis, make_turns: MakeTurns
) -> None:
    door = Door(servers.redis_url)
    async with door.stand() as url:
        holder = Visit(make_turns())
        await holder.begins()
        dead = Visit(make_turns(url))
        await until_waiting(redis, 1)
        waiting = Visit(make_turns())
        await until_waiting(redis, 2)
        await door.shut()
        await dead.ends()  # it found Redis gone, and ran without a turn
        assert not waiting.begun.is_set()
        await holder.ends()
        await waiting.begins()
        await waiting.ends()


async def test_the_turn_of_a_holder_that_says_nothing_any_more_expires(
    redis: ArqRedis, make_turns: MakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGKILL, or behind a dead network. If it comes back, it takes the turn from no other."""
    monkeypatch.setattr(module, "TURN_SECONDS", 0.1)
    monkeypatch.setattr(module, "KEEP_SECONDS", 0)
    silent = Visit(make_turns())
    await silent.begins()
    monkeypatch.setattr(module, "TURN_SECONDS", NEVER)
    second, third = make_turns(), make_turns()
    next_one = Visit(second)
    await next_one.begins()
    last = Visit(third)
    await until_waiting(redis, 1)
    holder = await redis.zrange(TURN, 0, -1)
    await silent.ends()
    await until_waiting(redis, 1)
    assert await redis.zrange(TURN, 0, -1) == holder
    assert not last.begun.is_set()
    await next_one.ends()
    await last.begins()
    await last.ends()
    assert TURN_SECONDS + module.LOOK_SECONDS < 1


async def test_a_holder_that_lives_keeps_its_turn(
    redis: ArqRedis, make_turns: MakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A starved batch, for example: another would only wait for its rows."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(module, "KEEP_SECONDS", NEVER)
    holder = Visit(make_turns())
    await holder.begins()
    ((_, given_until),) = await redis.zrange(TURN, 0, -1, withscores=True)
    other = Visit(make_turns())

    async def kept() -> bool:
        ((_, until_ms),) = await redis.zrange(TURN, 0, -1, withscores=True)
        return bool(until_ms > given_until)

    await until(kept, "the turn to be kept")
    assert not other.begun.is_set()
    await holder.ends()
    await other.begins()
    await other.ends()


async def test_a_batch_that_hangs_keeps_its_turn_for_some_seconds_only(
    make_turns: MakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEEP_SECONDS + TURN_SECONDS + module.LOOK_SECONDS < 3
    monkeypatch.setattr(module, "TURN_SECONDS", 0.1)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(module, "KEEP_SECONDS", 0.1)
    holder = Visit(make_turns())
    await holder.begins()
    other = Visit(make_turns())
    await other.begins()
    assert not holder.task.done()
    await other.ends()
    await holder.ends()


async def test_a_redis_that_is_emptied_while_workers_wait_holds_none_up(
    redis: ArqRedis, make_turns: MakeTurns
) -> None:
    holder = Visit(make_turns())
    await holder.begins()
    visits = []
    for number in range(3):
        visits.append(Visit(make_turns()))
        await until_waiting(redis, number + 1)
    await redis.flushall()
    for visit in visits:
        visit.go.set()
    for visit in visits:
        await visit.ends()
    await holder.ends()


async def test_without_redis_the_block_runs_at_once(
    make_turns: MakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says so once per rest, in which nothing is asked."""
    clock = asyncio.get_running_loop().time
    monkeypatch.setattr(module, "REST_SECONDS", NEVER)
    turns = make_turns(NOWHERE)
    ran = 0
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            async with turns.turn():
                ran += 1
        (line,) = logs
        assert line["event"] == "batches run without turns"
        turns._rests_until = clock()  # the rest is over
        async with turns.turn():
            ran += 1
    assert ran == 6
    assert len(logs) == 2


async def test_when_redis_is_back_there_are_turns_again(
    servers: Servers, redis: ArqRedis, make_turns: MakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0)
    door = Door(servers.redis_url)
    async with door.stand() as url:
        turns = make_turns(url)
        async with turns.turn():
            assert await redis.exists(TURN)
        await door.shut()
        async with turns.turn():
            pass
        await door.open()

        async def has_a_turn() -> bool:
            async with turns.turn():
                return bool(await redis.exists(TURN))

        await until(has_a_turn, "a turn by Redis")
        await turns.close()
