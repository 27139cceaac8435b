"""What the nemesis will do and when: the same for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

WORKERS: Final = 3
GAP_SECONDS: Final = (2.0, 5.5)  # from fault to fault; a long one lasts into the next


class Kind(Enum):
    """A kind of fault, as people read it."""

    KILL_WORKER = "worker killed"
    STOP_WORKER = "worker told to stop"
    FREEZE_WORKER = "worker frozen"
    FREEZE_WORKER_LONG = "worker frozen past its jobs' time"
    KILL_DATABASE = "database killed"
    FREEZE_DATABASE = "database frozen"
    CUT_DATABASE = "connections to the database cut"
    DELAY_DATABASE = "way to the database slow"
    SILENCE_DATABASE = "way to the database silent"
    HOLD_ROWS = "rows held by a stranger"
    KILL_REDIS = "Redis killed"
    FREEZE_REDIS = "Redis frozen"
    CUT_REDIS = "connections to Redis cut"
    DELAY_REDIS = "way to Redis slow"
    SILENCE_REDIS = "way to Redis silent"
    FLUSH_REDIS = "FLUSHALL"


# How long each lasts, at least and at most.
LASTS: Final = {
    Kind.KILL_WORKER: (0.0, 2.0),
    Kind.STOP_WORKER: (0.0, 2.0),
    Kind.FREEZE_WORKER: (0.5, 6.0),
    Kind.FREEZE_WORKER_LONG: (19.0, 24.0),  # longer than the lease of a worker
    Kind.KILL_DATABASE: (0.0, 4.0),
    Kind.FREEZE_DATABASE: (0.5, 4.0),
    Kind.CUT_DATABASE: (0.0, 0.0),
    Kind.DELAY_DATABASE: (2.0, 6.0),
    Kind.SILENCE_DATABASE: (1.0, 6.0),
    Kind.HOLD_ROWS: (1.0, 6.0),
    Kind.KILL_REDIS: (0.0, 4.0),
    Kind.FREEZE_REDIS: (0.5, 4.0),
    Kind.CUT_REDIS: (0.0, 0.0),
    Kind.DELAY_REDIS: (2.0, 6.0),
    Kind.SILENCE_REDIS: (1.0, 6.0),
    Kind.FLUSH_REDIS: (0.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them: so many seconds after the start, for so long; `worker` matters to faults of workers."""

    at: float
    kind: Kind
    seconds: float
    worker: int


def plan(seed: int, seconds: float) -> Iterator[Fault]:
    """Every kind comes once before any comes again; none lasts longer than the soak."""
    chance = Random(f"{seed} faults")
    at, turns = 0.0, list[Kind]()
    while (at := at + chance.uniform(*GAP_SECONDS)) < seconds:
        turns = turns or chance.sample(list(Kind), len(Kind))
        kind = turns.pop()
        fault = Fault(at, kind, chance.uniform(*LASTS[kind]), chance.randrange(WORKERS))
        if at + fault.seconds <= seconds:
            yield fault
