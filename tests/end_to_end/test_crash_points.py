"""Every command on the way of an order is a point where something can break: each of them, with each fault.

The points come from a recording, so a new statement or command is one by itself.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import pytest
from arq.connections import ArqRedis
from rich.console import Console
from rich.table import Table

from tests.end_to_end.conftest import ARQ
from tests.end_to_end.lanes import Asked, Lane, Place
from tests.end_to_end.watch import Point
from tests.shop import an_order
from tests.suite.deadline import is_over, leave_out
from tests.suite.sample import COMPLETE, SEED, size
from tests.wire_proxy import KILLS, Fault
from worker.embedded import Servers

pytestmark = pytest.mark.sampled(inside=True)
SHARE: Final = size(10, 1)  # one run in so many
LANES: Final = size(12, 28)  # most of a run is waiting
RECORDINGS: Final = 3


async def place_one(lane: Lane) -> AsyncIterator[Asked]:
    yield await lane.client.place(an_order({1: 1, 2: 2}))


async def place_three(lane: Lane) -> AsyncIterator[Asked]:
    orders = [an_order({1: 1}), an_order({2: 1, 3: 1}, customer_id=2), an_order({1: 1, 3: 2})]
    async for receipt in lane.client.place_many(orders, chunk=3):
        yield receipt


async def stage_one(lane: Lane) -> AsyncIterator[Asked]:
    yield await lane.stage(an_order({1: 1, 3: 2}))


PATHS: Final[dict[str, Place]] = {
    "an order": place_one,
    "a job of three": place_three,
    "a staged order": stage_one,
}


class Run(NamedTuple):
    """One fault at one point."""

    path: str
    point: Point
    fault: Fault


Results = dict[Run, float | Exception]  # the seconds until all outcomes were known


@pytest.mark.timeout(1800)  # for all of them
async def test_orders_have_their_outcome_whatever_breaks_at_any_command(
    servers: Servers, redis: ArqRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with AsyncExitStack() as stack:
        lanes = await asyncio.gather(
            *(
                stack.enter_async_context(Lane.open(servers, redis, ARQ, tmp_path / f"{n}.log"))
                for n in range(LANES)
            )
        )
        runs = [Run(*point, fault) for point in await record(lanes) for fault in Fault]
        results = await run_all(chosen(runs), lanes)
    with capsys.disabled():
        print_results(runs, results)
    failures = [f"{run}: {result!r}" for run, result in results.items() if isinstance(result, Exception)]
    assert not failures, "\n".join(failures)


async def record(lanes: Sequence[Lane]) -> list[tuple[str, Point]]:
    """The points of each path: what several recordings share, since a poll may fall in between by chance."""
    recordings = await asyncio.gather(*(lane.record(PATHS.values()) for lane in lanes[:RECORDINGS]))
    idle = set[str]().union(*(lane.watch.idle for lane in lanes))
    for lane in lanes:
        lane.watch.idle = idle
    return [
        (path, point)
        for path, of_path in zip(PATHS, zip(*recordings, strict=True), strict=True)
        for point in of_path[0]
        if all(point in recording for recording in of_path)
    ]


def chosen(runs: Sequence[Run]) -> list[Run]:
    """All, or those that the seed picks: so many seeds in a row pick each once. Those that take long come first."""
    picked = [run for run in runs if crc32(str(run).encode()) % SHARE == SEED % SHARE]
    return sorted(picked, key=lambda run: run.fault not in KILLS)


async def run_all(runs: Sequence[Run], lanes: Sequence[Lane]) -> Results:
    results: Results = {}
    waiting = deque(runs)

    async def take_turns(lane: Lane) -> None:
        while waiting and not is_over():
            run = waiting.popleft()
            try:
                results[run] = await lane.run(PATHS[run.path], (run.point, run.fault))
            except (AssertionError, TimeoutError) as error:
                results[run] = error
                return  # nobody knows what state this lane is in

    await asyncio.gather(*map(take_turns, lanes))
    if is_over():
        leave_out(f"tests/end_to_end/{Path(__file__).name}")
    return results


def print_results(runs: Sequence[Run], results: Results) -> None:
    """How many there were; of all, how long each took from the fault to the outcome."""
    table = Table("path", "way", "command", *(fault.value for fault in Fault))
    for path, point in dict.fromkeys(run[:2] for run in runs):
        cells = (_cell(results.get(Run(path, point, fault))) for fault in Fault)
        table.add_row(path, point.way, f"{point.command} #{point.nth}", *cells)
    console = Console(width=180)
    if COMPLETE:
        console.print(table)
    points = len(runs) // len(Fault)
    console.print(f"{points} crash points, {len(results)} of {len(runs)} runs, seed {SEED}")


def _cell(result: float | Exception | None) -> str:
    if isinstance(result, float):
        return f"{result:.1f} s"
    return "failed" if result else ""
