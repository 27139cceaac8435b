"""Errors that a person reads."""

from reprlib import Repr
from typing import Final

from pydantic import ValidationError

MOST_CHARACTERS: Final = 1000
_short: Final = Repr()
_short.maxstring = _short.maxother = 80


class LockstepError(Exception):
    """Something that a person has to mend; the message is one sentence that says what to do."""


def sentence(error: ValidationError) -> str:
    """Each field that is wrong (of the first five problems), why, and its value; cut where it is long or deep."""
    problems = error.errors(include_url=False)[:5]
    locations = [problem["loc"] for problem in problems]
    text = "; ".join(
        f"{_name(problem['loc'])}: {problem['msg']} (got {_short.repr(problem['input'])})"
        for problem in problems
        # A list whose items are wrong is called too short as well: the item says more.
        if not any(
            len(inner) > len(problem["loc"]) and inner[: len(problem["loc"])] == problem["loc"]
            for inner in locations
        )
    )
    return printable(text)


def printable(text: str) -> str:
    """Cut, and without what a terminal might obey."""
    return "".join(character if character.isprintable() else "?" for character in text[:MOST_CHARACTERS])


def _name(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:80] for part in location) or "request"
