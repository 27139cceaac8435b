import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from worker.web import watch as watching
from worker.web.beats import Beat
from worker.web.problems import Problem
from worker.web.watch import MOST_WATCHERS, Watch


class Source:
    """Gives the beats that the test gives it."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[int] = asyncio.Queue()
        self.reads = 0

    async def read(self) -> Beat:
        self.reads += 1
        number = await self.given.get()
        if number < 0:
            raise KeyError("a bug")
        return Beat([(number, None, None)], b"%d" % number)

    def give(self, *numbers: int) -> None:
        for number in numbers:
            self.given.put_nowait(number)


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """Those that were opened; beats follow each other at once."""
    monkeypatch.setattr(watching, "BEAT_SECONDS", 0)
    return []


@pytest.fixture
async def watch(sources: list[Source]) -> AsyncIterator[Watch]:
    def open_source() -> Source:
        sources.append(Source())
        return sources[-1]

    opened = Watch(open_source)
    yield opened
    await opened.stop()


async def until(happened: Callable[[], bool]) -> None:
    """Let the others run until it has; it hangs, and times out, where it never does."""
    while not happened():
        await asyncio.sleep(0)


async def next_number(watch: Watch) -> float:
    beat = await watch.next()
    assert beat
    return beat.points[-1][0]


def latest(watch: Watch) -> float | None:
    return watch.latest and watch.latest.points[-1][0]


async def test_nothing_is_read_while_nobody_watches(watch: Watch, sources: list[Source]) -> None:
    with watch.joined():
        await until(lambda: bool(sources))
    assert len(sources) == 1


async def test_the_first_beat_is_for_those_who_wait_for_it(watch: Watch, sources: list[Source]) -> None:
    with watch.joined():
        first = asyncio.create_task(next_number(watch))
        await until(lambda: bool(sources))
        assert watch.latest is None
        sources[0].give(1)
        assert await first == 1


async def test_all_who_watch_share_one_reading(watch: Watch, sources: list[Source]) -> None:
    with watch.joined(), watch.joined(), watch.joined():
        waiting = [asyncio.create_task(watch.next()) for _ in range(3)]
        await until(lambda: bool(sources))
        sources[0].give(1)
        beats = await asyncio.gather(*waiting)
        assert beats[0] is beats[1] is beats[2]
    assert len(sources) == 1
    assert sources[0].reads <= 3


async def test_who_is_busy_misses_beats_and_holds_up_nobody(watch: Watch, sources: list[Source]) -> None:
    with watch.joined():
        await until(lambda: bool(sources))
        sources[0].give(*range(1, 100))
        await until(lambda: latest(watch) == 99)  # this one was busy meanwhile
        late = asyncio.create_task(next_number(watch))
        await asyncio.sleep(0)
        sources[0].give(100)
        assert await late == 100


async def test_one_who_leaves_while_it_waits_takes_no_beat_from_the_others(
    watch: Watch, sources: list[Source]
) -> None:
    with watch.joined(), watch.joined():
        leaver, stayer = (asyncio.create_task(watch.next()) for _ in range(2))
        await until(lambda: bool(sources))
        leaver.cancel()
        await asyncio.wait([leaver])
        sources[0].give(1)
        assert await stayer


async def test_there_are_only_so_many_who_watch(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_WATCHERS", 1)
    with watch.joined():
        with pytest.raises(Problem, match="come again later") as refused, watch.joined():
            pass
        assert refused.value.status == HTTPStatus.SERVICE_UNAVAILABLE
    with watch.joined():
        pass
    assert MOST_WATCHERS > 1


async def test_who_comes_back_soon_has_a_beat_at_once(watch: Watch, sources: list[Source]) -> None:
    with watch.joined():
        await until(lambda: bool(sources))
        sources[0].give(1, 2, 3)
        await until(lambda: latest(watch) == 3)
    with watch.joined():
        assert latest(watch) == 3
        sources[0].give(4)
        await until(lambda: latest(watch) == 4)
    assert len(sources) == 1


async def test_the_reading_ends_some_time_after_the_last_has_left(
    watch: Watch, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LINGER_SECONDS", 0)
    with watch.joined():
        await until(lambda: bool(sources))
        sources[0].give(1)
        await until(lambda: latest(watch) == 1)
    sources[0].give(2)  # this reading was under way
    task = watch._background._task
    assert task
    await task
    assert watch.latest is None, "the beat of a while ago is no beat of now"
    with watch.joined():
        await until(lambda: len(sources) == 2)


async def test_the_end_lets_everybody_go(watch: Watch) -> None:
    with watch.joined():
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        watch.end()
        assert await waiting is None
        assert await watch.next() is None


async def test_a_bug_in_a_reading_is_logged_and_not_the_end(watch: Watch, sources: list[Source]) -> None:
    with watch.joined():
        waiting = asyncio.create_task(next_number(watch))
        await until(lambda: bool(sources))
        with capture_logs() as logs:
            sources[0].give(-1, 2)
            assert await waiting == 2
    assert [log["event"] for log in logs] == ["no beat for the live page"]
