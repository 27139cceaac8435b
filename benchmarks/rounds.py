"""The rounds: each contestant once in each, so that a slow minute of the machine falls on all of them."""

from collections.abc import Callable, Sequence
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
    rounds = arena.size.rounds
    for number in range(1, rounds + 1):
        for crew, group in groupby(taking_part, key=lambda contestant: contestant.crew):
            say(f"round {number} of {rounds}: {crew.label if crew else 'no worker'}")
            async with running(crew, arena.servers, arena.folder) as workers:
                for contestant in group:
                    say(f"round {number} of {rounds}: {contestant.name}")
                    await _measure(arena, contestant, workers, run)


async def _measure(arena: Arena, contestant: Contestant, workers: Workers, run: Run) -> None:
    before = workers.count_events("conflict")
    try:
        measured = await contestant.measure(arena, workers, run.figures)
    except (LockstepError, DatabaseError) as error:
        run.failures.append(f"{contestant.name}: {error}")
        return
    for name, label, value, unit in measured:
        run.figures.setdefault(name, Figure(label, unit or contestant.unit)).rounds.append(value)
    if contestant.crew:
        label, conflicts = contestant.crew.label, workers.count_events("conflict") - before
        run.conflicts[label] = run.conflicts.get(label, 0) + conflicts
