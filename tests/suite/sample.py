"""How much of the suite a run takes, and the seed of its samples: the same in all processes of a run."""

import os
import secrets
from typing import Final, Literal, TypeVar, get_args

Size = TypeVar("Size")
# A sample that rotates with the seed; everything; what that sample leaves out; or the tests that are named.
Part = Literal["gate", "all", "rest", "named"]
SEED: Final = int(os.environ.setdefault("LOCKSTEP_TEST_SEED", str(secrets.randbelow(10_000))))
PART: Final = os.environ.setdefault("LOCKSTEP_TEST_PART", "named")
COMPLETE: Final = PART in {"all", "rest"}
assert PART in get_args(Part), f"LOCKSTEP_TEST_PART is one of {', '.join(get_args(Part))}"


def size(gate: Size, complete: Size) -> Size:
    """How many a test takes of what it samples itself."""
    return complete if COMPLETE else gate


def replay(node: str) -> str:
    """The command that runs one test again with exactly this sample."""
    part = "LOCKSTEP_TEST_PART=all " if COMPLETE else ""
    return f"{part}LOCKSTEP_TEST_SEED={SEED} .venv/bin/pytest '{node}'"
