"""What many ask for, kept in Redis for a while. Nothing is decided by it: an order locks its rows in the database.

A key holds a value, or the mark of a load that is under way. What was loaded is kept only where the mark is still the one
that was there before the load began; to forget a value removes the mark, too. So a slow load cannot put back what was
forgotten meanwhile, however long it took: a mark that comes later is another one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from worker.metrics import CACHE_REQUESTS
from worker.queue.connection import connection_pool

logger = structlog.get_logger()

ANSWER_SECONDS: Final = 0.5  # no page waits longer for Redis: the database has what it wants, too
REST_SECONDS: Final = 1.0  # after a failure no page even asks
_MARK: Final = b"?"  # no JSON begins with it

# The value, or the mark of a load: this one's, where there was neither.
_LOOK: Final = """
local kept = redis.call('GET', KEYS[1])
if kept then return kept end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_COMPARE_AND_SET: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
Model = TypeVar("Model", bound=BaseModel)


class _Found(NamedTuple):
    value: Any
    result: str


@dataclass(slots=True)
class _Flight:
    """One look, and load, for all of this process who want the same at the same time."""

    task: asyncio.Task[_Found]
    waiting: int = 0


class Cache:
    """Values by model and number."""

    def __init__(self, redis_url: str, queue_name: str, keep_seconds: float) -> None:
        self._redis = Redis(connection_pool=connection_pool(redis_url, retries=0))
        self._redis.auto_close_connection_pool = True
        self._look = self._redis.register_script(_LOOK)
        self._compare_and_set = self._redis.register_script(_COMPARE_AND_SET)
        self._prefix = f"{queue_name}:cache"
        self._keep_ms = int(1000 * keep_seconds)
        self._flights: dict[str, _Flight] = {}
        self._rests_until = 0.0
        self._is_down = False

    async def get(
        self, model: type[Model], number: int, load: Callable[[], Awaitable[Model | None]]
    ) -> Model | None:
        """What is kept, or what `load` gives: once for all who ask meanwhile, who all get what it raises. None is not kept.

        While Redis is down everything is loaded.
        """
        key = self._key(model, number)
        flight = self._flights.get(key)
        is_shared = flight is not None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._find(key, model, load)))
        flight.waiting += 1
        try:
            value, result = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:  # the last one who wanted it has it, or has given up
                flight.task.cancel()
                self._detach(key, flight)
        result = "shared" if is_shared and result == "miss" else result
        CACHE_REQUESTS.labels(model.__name__.lower(), result).inc()
        found: Model | None = value
        return found

    async def forget(self, model: type[BaseModel], numbers: Iterable[int]) -> bool:
        """Whoever asks from now on gets what is committed now.

        False where Redis does not take it: others may get what was kept for as long as it is kept.
        """
        keys = [self._key(model, number) for number in numbers]
        try:
            return not keys or await self._answer(self._redis.delete(*keys)) is not None
        finally:
            for key in keys:  # their loads began before
                self._flights.pop(key, None)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _find(
        self, key: str, model: type[Model], load: Callable[[], Awaitable[Model | None]]
    ) -> _Found:
        kept = await self._ask(self._look, key, _MARK + token_hex(8).encode(), self._keep_ms)
        if kept is None:
            return _Found(await load(), "down")
        if not kept.startswith(_MARK):
            with suppress(ValidationError):  # another version of this program has kept it
                return _Found(model.model_validate_json(kept), "hit")
        value = await load()
        if value is not None:
            await self._ask(self._compare_and_set, key, kept, value.model_dump_json(), self._keep_ms)
        return _Found(value, "miss")

    async def _ask(self, script: AsyncScript, key: str, *arguments: bytes | str | int) -> Any:  # noqa: ANN401  # as Redis answers
        if asyncio.get_running_loop().time() < self._rests_until:
            return None
        return await self._answer(script([key], arguments))

    async def _answer(self, question: Awaitable[Any]) -> Any:  # noqa: ANN401
        """None where there is no answer; the log says so where that begins, and where it ends."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await question
        except (RedisError, OSError) as error:
            if not self._is_down:
                logger.warning(
                    "cache is down: pages come from the database", error=f"{type(error).__name__}: {error}"
                )
            self._is_down = True
            self._rests_until = asyncio.get_running_loop().time() + REST_SECONDS
            return None
        if self._is_down:
            logger.info("cache is back")
        self._is_down = False
        return answer

    def _key(self, model: type[BaseModel], number: int) -> str:
        return f"{self._prefix}:{model.__name__.lower()}:{number}"

    def _detach(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
