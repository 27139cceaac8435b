"""A change of one place in a file, and the same as a fault that can be planted after the file has changed elsewhere."""

from dataclasses import dataclass
from typing import NamedTuple


class Edit(NamedTuple):
    """Characters from `start` to `end` become `text`; they sort in the order of the file."""

    start: int
    end: int
    text: str
    operator: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Whole lines and what they become. `above` is as many lines before them as make the place unique."""

    number: int
    path: str
    line: int
    operator: str
    above: list[str]
    before: str
    after: str


class MovedError(Exception):
    """The lines of a fault are not in its file, or not only once."""


def make_fault(number: int, path: str, text: str, edit: Edit) -> Fault:
    first = text.count("\n", 0, edit.start)
    last = text.count("\n", 0, edit.end)
    lines = text.split("\n")
    top = first
    while top and len(_places(lines, lines[top : last + 1])) > 1:
        top -= 1
    mutated = text[: edit.start] + edit.text + text[edit.end :]
    end = len(mutated.split("\n")) - (len(lines) - last - 1)
    return Fault(
        number,
        path,
        first + 1,
        edit.operator,
        above=lines[top:first],
        before="\n".join(lines[first : last + 1]),
        after="\n".join(mutated.split("\n")[first:end]),
    )


def apply(fault: Fault, text: str) -> str:
    """The text with the fault in it. Raises MovedError if its place is not there exactly once."""
    lines = text.split("\n")
    before = fault.before.split("\n")
    places = _places(lines, fault.above + before)
    if len(places) != 1:
        raise MovedError(
            f"its lines are {len(places)} times in {fault.path}: draw again, or plant it by hand."
        )
    first = places[0] + len(fault.above)
    return "\n".join([*lines[:first], fault.after, *lines[first + len(before) :]])


def _places(lines: list[str], block: list[str]) -> list[int]:
    return [first for first in range(len(lines)) if lines[first : first + len(block)] == block]
