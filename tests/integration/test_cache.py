"""The cache on a real Redis: one load for all who ask, nothing stale put back, and no harm where Redis is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import pytest
import structlog
from arq.connections import ArqRedis
from pydantic import BaseModel

from tests.asking import until
from tests.integration.conftest import Looked
from tests.integration.patience import NEVER
from tests.lab.traps.redis_door import Door
from worker.queue import cache as module
from worker.queue.cache import Cache
from worker.settings import Settings

KEY: Final = "arq:queue:cache:thing:7"
MakeCache = Callable[..., Cache]


class Thing(BaseModel):
    text: str


OLD, NEW = Thing(text="old"), Thing(text="new")


class Loader:
    """Gives what is true when it begins, after it was let go; counts how often it was asked."""

    def __init__(self, thing: Thing | None = OLD) -> None:
        self.thing = thing
        self.count = 0
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> Thing | None:
        self.count += 1
        thing = self.thing
        self.began.set()
        await self.may_end.wait()
        return thing


@pytest.fixture
async def make_cache(settings: Settings) -> AsyncIterator[MakeCache]:
    """Each is that of a process."""
    made: list[Cache] = []

    def make(url: str = settings.redis_url, keep_seconds: float = 60) -> Cache:
        made.append(Cache(url, settings.queue_name, keep_seconds))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return make_cache()


async def test_a_hundred_who_ask_at_the_same_time_share_one_load(cache: Cache, looked: Looked) -> None:
    load = Loader()
    found = await asyncio.gather(*(cache.get(Thing, 7, load) for _ in range(100)))
    assert found == [OLD] * 100
    assert load.count == 1
    assert looked() == {"thing:miss": 1, "thing:shared": 99}


async def test_what_is_kept_is_loaded_no_more_in_any_process(
    cache: Cache, make_cache: MakeCache, looked: Looked
) -> None:
    load, other = Loader(), make_cache()
    assert await cache.get(Thing, 7, load) == OLD
    assert await cache.get(Thing, 7, load) == await other.get(Thing, 7, load) == OLD
    assert load.count == 1
    assert looked() == {"thing:miss": 1, "thing:hit": 2}


async def test_a_stampede_of_processes_costs_one_load_each(make_cache: MakeCache) -> None:
    caches, load = [make_cache() for _ in range(4)], Loader()
    await asyncio.gather(*(cache.get(Thing, 7, load) for cache in caches for _ in range(25)))
    assert load.count <= len(caches)


async def test_a_value_is_kept_for_so_long_and_no_longer(make_cache: MakeCache, redis: ArqRedis) -> None:
    await make_cache(keep_seconds=60).get(Thing, 7, Loader())
    assert 0 < await redis.pttl(KEY) <= 60_000


async def test_what_is_not_there_is_not_kept(cache: Cache) -> None:
    load = Loader(None)
    assert await cache.get(Thing, 7, load) is None
    load.thing = NEW
    assert await cache.get(Thing, 7, load) == NEW


async def test_a_value_is_forgotten_in_all_processes(cache: Cache, make_cache: MakeCache) -> None:
    other, load = make_cache(), Loader()
    await cache.get(Thing, 7, load)
    load.thing = NEW
    assert await other.forget(Thing, [6, 7])
    assert await cache.get(Thing, 7, load) == NEW


async def test_to_forget_nothing_is_nothing(cache: Cache) -> None:
    assert await cache.forget(Thing, [])


@pytest.mark.parametrize("kept_meanwhile", [True, False])
async def test_a_slow_load_does_not_put_back_what_was_forgotten_meanwhile(
    *, kept_meanwhile: bool, cache: Cache, make_cache: MakeCache
) -> None:
    slow, fast, other = Loader(OLD), Loader(NEW), make_cache()
    slow.may_end.clear()
    reading = asyncio.create_task(cache.get(Thing, 7, slow))
    await slow.began.wait()
    await other.forget(Thing, [7])  # a writer has committed
    if kept_meanwhile:
        assert await other.get(Thing, 7, fast) == NEW
    slow.may_end.set()
    assert await reading == OLD, "it asked before"
    assert await other.get(Thing, 7, fast) == NEW
    assert fast.count == 1


async def test_a_slow_load_whose_mark_has_expired_keeps_nothing(
    cache: Cache, make_cache: MakeCache, redis: ArqRedis
) -> None:
    """However late it comes, and whoever loads by then."""
    slow, other_slow, other = Loader(OLD), Loader(NEW), make_cache()
    slow.may_end.clear()
    other_slow.may_end.clear()
    reading = asyncio.create_task(cache.get(Thing, 7, slow))
    await slow.began.wait()
    await redis.delete(KEY)
    other_reading = asyncio.create_task(other.get(Thing, 7, other_slow))
    await other_slow.began.wait()
    slow.may_end.set()
    assert await reading == OLD
    other_slow.may_end.set()
    assert await other_reading == NEW
    assert await cache.get(Thing, 7, slow) == NEW


async def test_who_comes_after_a_write_does_not_join_a_load_from_before(cache: Cache) -> None:
    load = Loader(OLD)
    load.may_end.clear()
    reading = asyncio.create_task(cache.get(Thing, 7, load))
    await load.began.wait()
    load.thing = NEW
    await cache.forget(Thing, [7])
    load.may_end.set()
    assert await cache.get(Thing, 7, load) == NEW
    assert await reading == OLD


async def test_what_a_load_raises_is_raised_to_all_who_wait_and_the_next_one_loads_again(
    cache: Cache,
) -> None:
    async def fail() -> Thing:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    found = await asyncio.gather(*(cache.get(Thing, 7, fail) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [ZeroDivisionError] * 3
    assert await cache.get(Thing, 7, Loader()) == OLD


async def test_a_load_goes_on_for_those_who_still_wait_and_ends_with_the_last(cache: Cache) -> None:
    load = Loader()
    load.may_end.clear()
    first, second = (asyncio.create_task(cache.get(Thing, 7, load)) for _ in range(2))
    await load.began.wait()
    first.cancel()
    await asyncio.wait([first])
    assert not second.done()
    flight = cache._flights[KEY]
    second.cancel()
    await asyncio.wait([second])
    await asyncio.wait([flight.task])
    assert flight.task.cancelled()
    load.may_end.set()
    assert await cache.get(Thing, 7, load) == OLD
    assert load.count == 2


async def test_what_another_version_has_kept_is_loaded_anew(cache: Cache, redis: ArqRedis) -> None:
    await redis.set(KEY, '{"text": 7}')
    load = Loader()
    assert await cache.get(Thing, 7, load) == OLD
    assert await cache.get(Thing, 7, load) == OLD
    assert load.count == 1


async def test_two_queues_in_one_redis_do_not_share_what_they_keep(cache: Cache, settings: Settings) -> None:
    other = Cache(settings.redis_url, "another", 60)
    await cache.get(Thing, 7, Loader(OLD))
    assert await other.get(Thing, 7, Loader(NEW)) == NEW
    await other.close()


def told(logs: Sequence[Any]) -> list[tuple[str, str]]:
    return [(entry["log_level"], entry["event"]) for entry in logs if entry["event"].startswith("cache ")]


async def test_while_redis_is_away_everything_is_loaded_and_the_log_says_so_once(
    settings: Settings, make_cache: MakeCache, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.01)
    door, load = Door(settings.redis_url), Loader()
    async with door.stand() as url:
        await door.shut()
        cache = make_cache(url)
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):  # away from the start on
                assert await cache.get(Thing, 7, load) == OLD
            assert load.count == 3
            assert not await cache.forget(Thing, [7])
            await door.open()

            async def is_kept() -> bool:
                await cache.get(Thing, 7, load)
                return "thing:hit" in looked()

            await until(is_kept, "the cache to be back")
            await door.shut()
            count = load.count
            assert await cache.get(Thing, 7, load) == OLD  # away in between
            assert load.count == count + 1
    began, ended = ("warning", "cache is down: pages come from the database"), ("info", "cache is back")
    assert told(logs) == [began, ended, began]


async def test_a_redis_that_has_failed_is_left_alone_for_a_while(
    settings: Settings, make_cache: MakeCache, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", NEVER)
    door = Door(settings.redis_url)
    async with door.stand() as url:
        await door.shut()
        cache = make_cache(url)
        await cache.get(Thing, 7, Loader())
        await door.open()
        await cache.get(Thing, 7, Loader())
        assert looked() == {"thing:down": 2}, "nobody has asked"
        assert await cache.forget(Thing, [7]), "a write asks in any case"


async def test_a_redis_that_says_nothing_holds_up_nobody(
    settings: Settings, make_cache: MakeCache, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    door = Door(settings.redis_url)
    async with door.stand() as url:
        door.swallows = True
        cache = make_cache(url)
        assert await cache.get(Thing, 7, Loader()) == OLD
        assert looked() == {"thing:down": 1}
        assert not await cache.forget(Thing, [7])


async def test_a_redis_that_is_full_keeps_nothing_and_is_no_error(
    cache: Cache, redis: ArqRedis, looked: Looked
) -> None:
    used = await redis.config_get("maxmemory")
    await redis.config_set("maxmemory", 1)
    try:
        assert await cache.get(Thing, 7, Loader()) == OLD
    finally:
        await redis.config_set("maxmemory", used["maxmemory"])
    assert looked() == {"thing:down": 1}
