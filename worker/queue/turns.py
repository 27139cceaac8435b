"""Turns of batches: of all workers of a queue, two at a time run one.

Batches want the same popular rows. Without turns they wait for each other inside of InnoDB, with their locks and their
connections, and the more workers there are, the longer. With them a batch waits here, holds nothing, and gathers. Two,
and not one: while the first commits, the second has been sent, and stands at the first row that both want.

Turns are for speed only: a batch that cannot have one runs without it, and row locks keep it correct.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from worker.queue.connection import connection_pool
from worker.queue.wire import QUEUE_ERRORS

logger = structlog.get_logger()

AT_A_TIME: Final = 2
# After its holder was last heard of, a turn is the next one's: that worker may have died.
TURN_SECONDS: Final = 0.7
KEEP_SECONDS: Final = 2.0  # for so long its holder keeps it: a batch that hangs lets others in
# How often a holder is heard of, and those who wait see whether a turn has run out.
LOOK_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 3.0  # no batch waits longer for Redis itself, and a starved worker is slow to hear it
REST_SECONDS: Final = 1.0  # after a failure no batch even asks
_REDIS_ERRORS: Final = (*QUEUE_ERRORS, OSError)  # TimeoutError is one

# Whose turn it is, is a sorted set, by the time at which each turn ends; who waits, a list. Each worker listens on a channel
# of its own: a turn is given to the first of the list that listens, so that none is given to a worker that has died.
_NEXT: Final = """
local turn, waiting, worker, at_a_time, turn_ms = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function have(holder) redis.call('ZADD', turn, now_ms + turn_ms, holder) end
local function give()
  redis.call('ZREMRANGEBYSCORE', turn, '-inf', now_ms)
  while redis.call('ZCARD', turn) < at_a_time do
    local next = redis.call('LPOP', waiting)
    if not next then break end
    if redis.call('PUBLISH', turn .. ':' .. next, '') > 0 then have(next) end
  end
  redis.call('EXPIRE', turn, 60)
end
"""
# 1: it is this worker's turn. Else it is among those who wait.
_ASK: Final = f"""{_NEXT}
if redis.call('ZSCORE', turn, worker) then
  have(worker)
  return 1
end
local is_listed = false
for _, other in ipairs(redis.call('LRANGE', waiting, 0, -1)) do is_listed = is_listed or other == worker end
if not is_listed then redis.call('RPUSH', waiting, worker) end
redis.call('EXPIRE', waiting, 60)
give()
return redis.call('ZSCORE', turn, worker) and 1 or 0
"""
# Its holder lives.
_KEEP: Final = f"""{_NEXT}
if redis.call('ZSCORE', turn, worker) then have(worker) end
"""
_PASS_ON: Final = f"""{_NEXT}
redis.call('LREM', waiting, 0, worker)
redis.call('ZREM', turn, worker)
give()
"""


class Turns(Protocol):
    """What batches wait for."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for it, and have it during the block."""
        ...


class RedisTurns:
    """The turns of one worker."""

    def __init__(self, url: str, queue_name: str) -> None:
        """Connects when it is first used."""
        self._redis = Redis(connection_pool=connection_pool(url, retries=0))
        self._redis.auto_close_connection_pool = True
        self._worker = uuid4().hex
        self._turn = f"{queue_name}:turn"
        self._ask = self._redis.register_script(_ASK)
        self._keep = self._redis.register_script(_KEEP)
        self._pass_on = self._redis.register_script(_PASS_ON)
        self._channel = self._redis.pubsub(ignore_subscribe_messages=True)
        self._passing: asyncio.Task[None] | None = None
        self._rests_until = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for it, and have it during the block; at once if Redis does not answer."""
        if self._passing:
            await self._passing
        await self._unless_redis_is_down(self._wait)
        keeping = asyncio.create_task(self._keep_it())
        try:
            yield
        finally:
            keeping.cancel()
            # In the background: the next worker waits for it, and no job of this one.
            self._passing = asyncio.create_task(self._unless_redis_is_down(self._leave))

    async def close(self) -> None:
        """Pass the turn on, and close the connections."""
        if self._passing:
            await self._passing
        with suppress(*_REDIS_ERRORS):
            await self._channel.aclose()  # type: ignore[no-untyped-call]  # redis-py's own
        await self._redis.aclose()

    async def _wait(self) -> None:
        if not self._channel.subscribed:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._channel.subscribe(f"{self._turn}:{self._worker}")
                await self._channel.get_message(timeout=ANSWER_SECONDS)  # that it is subscribed
        while not await self._run(self._ask):
            await self._channel.get_message(timeout=LOOK_SECONDS)

    async def _keep_it(self) -> None:
        for _ in range(int(KEEP_SECONDS / LOOK_SECONDS)):
            await asyncio.sleep(LOOK_SECONDS)
            await self._unless_redis_is_down(partial(self._run, self._keep))

    async def _leave(self) -> None:
        await self._run(self._pass_on)

    async def _run(self, script: AsyncScript) -> Any:  # noqa: ANN401  # as Redis answers
        arguments: list[str | int] = [self._worker, AT_A_TIME, int(TURN_SECONDS * 1000)]
        async with asyncio.timeout(ANSWER_SECONDS):
            return await script([self._turn, f"{self._turn}:waiting"], arguments)

    async def _unless_redis_is_down(self, work: Callable[[], Awaitable[None]]) -> None:
        clock = asyncio.get_running_loop().time
        if clock() < self._rests_until:
            return
        try:
            await work()
        except _REDIS_ERRORS as error:
            self._rests_until = clock() + REST_SECONDS
            with suppress(*_REDIS_ERRORS):  # to be subscribed again
                await self._channel.aclose()  # type: ignore[no-untyped-call]  # redis-py's own
            logger.warning("batches run without turns", error=f"{type(error).__name__}: {error}")
