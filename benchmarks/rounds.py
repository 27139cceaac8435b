"""The rounds: each contestant once in each, so that a slow minute of the machine falls on all of them."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from benchmarks.arena import Arena
from benchmarks.contestant import Contestant
from benchmarks.crews import Workers, running
from benchmarks.figures import Figure, Run
from worker.database.retry import DatabaseError
from worker.errors import LockstepError


async def run_rounds(
    arena: Arena, taking_part: Sequence[Contestant], run: Run, say: Callable[[str], None]
) -> None:
    """Measure all of them, round by round; `say` is told what is being measured."""
    for number in range(1, arena.size.rounds + 1):
        tell = partial(_tell, say, f"round {number} of {arena.size.rounds}")
        for crew, group in groupby(taking_part, key=lambda contestant: contestant.crew):
            left, label = list(group), crew.label if crew else "no worker"
            try:
                while left:
                    tell(label)
                    await arena.queue.flushdb()  # new workers must not get jobs of a round that did not count
                    async with running(crew, arena.servers, arena.folder) as workers:
                        await _take_turns(arena, left, workers, run, tell)
            except LockstepError as error:
                run.failures.append(f"{label}: {error}")


def _tell(say: Callable[[str], None], turn: str, name: str) -> None:
    say(f"{turn}: {name}")


async def _take_turns(
    arena: Arena, left: list[Contestant], workers: Workers, run: Run, tell: Callable[[str], None]
) -> None:
    """Until one does not count: the workers may still have orders of it, and the others get new ones."""
    while left:
        contestant = left.pop(0)
        tell(contestant.name)
        if not await _measure(arena, contestant, workers, run):
            return


async def _measure(arena: Arena, contestant: Contestant, workers: Workers, run: Run) -> bool:
    """Whether it counts."""
    before = workers.count_events("conflict")
    try:
        measured = await contestant.measure(arena, workers, run.figures)
    except (LockstepError, DatabaseError) as error:
        run.failures.append(f"{contestant.name}: {error}")
        return False
    for name, label, value, unit in measured:
        run.figures.setdefault(name, Figure(label, unit or contestant.unit)).rounds.append(value)
    if contestant.crew:
        label, conflicts = contestant.crew.label, workers.count_events("conflict") - before
        run.conflicts[label] = run.conflicts.get(label, 0) + conflicts
    return True
