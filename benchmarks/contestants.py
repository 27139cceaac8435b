"""Who is measured, and how: a list in the order of a round."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks import limit
from benchmarks.arena import Arena
from benchmarks.contestant import Contestant, Measured
from benchmarks.crews import Crew, Workers
from benchmarks.figures import PERCENTS, Figures, percentile
from benchmarks.latency import place_on_time, schedule
from benchmarks.loads import MANY_PRODUCTS, Load, baskets, single_lines
from benchmarks.many_workers import many_workers
from benchmarks.starved import PREFIX, starved, starved_beside

REFERENCE: Final = "arq benchmarks.reference.worker.Settings"
NO_OP: Final = "python -m arq benchmarks.noop.settings"
BEFORE: Final = "lockstep worker"  # of a checkout in which it was the faster one of two kinds of worker
# The same with 20 orders a batch and 40 claimed, for a starved machine; it claims two batches.
BEFORE_FIXED: Final = (
    'python -c "from worker.queue import group_commit; group_commit.MAX_BATCH = 20; from worker import main;'
    ' assert main.JOBS_BY_PAGE == 40; main.run()"'
)
FIXED: Final = f"before-{PREFIX}16"
CHUNK: Final = 100  # orders a bulk job
IDLE_RATE: Final = 20.0  # orders a second
HALF: Final = 0.5


ChooseLoad = Callable[[Arena], Load]


def contestants(worker: str, before: Path | None = None) -> list[Contestant]:
    """All of them; `worker` is the command that starts a worker, `before` an earlier checkout with a .venv."""
    reference, one, two = Crew(REFERENCE, 2), Crew(worker, 1), Crew(worker, 2)
    return [
        _drain("reference", "reference worker", reference, _baskets(1)),
        _drain("reference-one-product", "reference, one line, one product", reference, _single_lines(1, 1)),
        _drain(
            "reference-thousand-products",
            "reference, one line, 1,000 products",
            reference,
            _single_lines(MANY_PRODUCTS, 1),
        ),
        *(_limit(batch) for batch in limit.BATCHES),
        _no_op("no-op-1", "empty jobs, one worker", Crew(NO_OP, 1)),
        _no_op("no-op-2", "empty jobs", Crew(NO_OP, 2)),
        _drain("single-1", "Lockstep, single orders, one worker", one, _baskets(5)),
        _drain("bulk-1", "Lockstep, bulk of 100, one worker", one, _baskets(5), CHUNK),
        Contestant("idle-cpu", one, "% of a core", _idle_cpu),
        _drain("single-2", "Lockstep, single orders", two, _baskets(5)),
        _drain("bulk-2", "Lockstep, bulk of 100", two, _baskets(5), CHUNK),
        *(_before(before) if before else ()),
        _drain("one-product", "Lockstep, bulk, one line, one product", two, _single_lines(1, 5), CHUNK),
        _drain(
            "thousand-products",
            "Lockstep, bulk, one line, 1,000 products",
            two,
            _single_lines(MANY_PRODUCTS, 5),
            CHUNK,
        ),
        _drain(
            "thousand-products-16",
            "the same, 16 workers",
            Crew(worker, 16),
            _single_lines(MANY_PRODUCTS, 12),
            CHUNK,
        ),
        Contestant("idle", two, "ms", _latency_idle),
        Contestant("half", two, "ms", _latency_half),
        *many_workers(worker),
        *starved(worker),
        *(
            [starved_beside(FIXED, "before, 20 a batch, 16 burners", BEFORE_FIXED, 16, before)]
            if before
            else ()
        ),
    ]


def _before(project: Path) -> Iterator[Contestant]:
    crew = Crew(BEFORE, 2, project)
    yield _drain("before-single-2", "before, single orders", crew, _baskets(5))
    yield _drain("before-bulk-2", "before, bulk of 100", crew, _baskets(5), CHUNK)


def _drain(name: str, label: str, crew: Crew, choose: ChooseLoad, chunk: int = 1) -> Contestant:
    async def measure(arena: Arena, workers: Workers, _: Figures) -> list[Measured]:
        load = choose(arena)
        await arena.prepare(load)
        rate = await arena.rate(workers, load, chunk)
        await arena.check(load)
        return [Measured(name, label, rate)]

    return Contestant(name, crew, "orders/s", measure)


def _no_op(name: str, label: str, crew: Crew) -> Contestant:
    async def measure(arena: Arena, workers: Workers, _: Figures) -> list[Measured]:
        load = baskets(arena.size.data, 10 * arena.size.orders)
        await arena.prepare(load)
        return [Measured(name, label, await arena.rate(workers, load, 1))]

    return Contestant(name, crew, "orders/s", measure)


def _limit(batch: int) -> Contestant:
    name, label = f"limit-{batch}", f"limit: its SQL alone, {batch} a transaction"

    async def measure(arena: Arena, _workers: Workers, _: Figures) -> list[Measured]:
        load = baskets(arena.size.data, arena.size.orders * (1 if batch == 1 else 4))
        if batch not in arena.recorded:
            await arena.prepare(load)
            arena.recorded[batch] = await limit.record(arena.servers, load, batch, arena.folder)
        await arena.prepare(load)
        seconds = await limit.replay(arena.servers, arena.recorded[batch])
        await arena.check(load)
        return [Measured(name, label, len(load.orders) / seconds)]

    return Contestant(name, None, "orders/s", measure)


def _baskets(times: int) -> ChooseLoad:
    return lambda arena: baskets(arena.size.data, times * arena.size.orders)


def _single_lines(products: int, times: int) -> ChooseLoad:
    return lambda arena: single_lines(products, times * arena.size.orders)


async def _idle_cpu(arena: Arena, workers: Workers, _: Figures) -> list[Measured]:
    await workers.wait_until_idle()
    (share,) = await workers.shares_of_a_core(arena.size.idle_seconds)
    return [Measured("idle-cpu", "Lockstep, an idle worker", 100 * share)]


async def _latency_idle(arena: Arena, workers: Workers, _: Figures) -> list[Measured]:
    latencies, starts = await _latencies(arena, workers, IDLE_RATE)
    return [
        *_percentiles("idle", "latency when idle", latencies),
        *_percentiles("start", "enqueue to start when idle", starts),
    ]


async def _latency_half(arena: Arena, workers: Workers, figures: Figures) -> list[Measured]:
    """At half of what single orders came to in the rounds so far."""
    if "single-2" in figures:
        fastest = figures["single-2"].median
    else:
        load = baskets(arena.size.data, arena.size.orders)
        await arena.prepare(load)
        fastest = await arena.rate(workers, load, 1)
    latencies, _ = await _latencies(arena, workers, HALF * fastest)
    return _percentiles("half", "latency at half load", latencies)


async def _latencies(arena: Arena, workers: Workers, rate: float) -> tuple[list[float], list[float]]:
    """Milliseconds from each order's moment to its committed outcome, and from its enqueue to its start."""
    moments = schedule(rate, arena.size.latency_seconds)
    load = baskets(arena.size.data, len(moments))
    await arena.prepare(load)
    await workers.wait_until_idle()
    due, timings = await place_on_time(arena.queue, workers, load.orders, moments)
    await arena.check(load)
    latencies = [timing.finished_ms - 1000 * moment for timing, moment in zip(timings, due, strict=True)]
    return latencies, [float(timing.started_ms - timing.enqueued_ms) for timing in timings]


def _percentiles(name: str, label: str, milliseconds: list[float]) -> list[Measured]:
    return [
        Measured(f"{name}-p{percent:g}", f"{label}, p{percent:g}", percentile(milliseconds, percent))
        for percent in PERCENTS
    ]
