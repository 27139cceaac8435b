"""Expected transcripts: one file a pitfall, one section for each transcript, headed by the servers and levels that agree."""

from pathlib import Path
from typing import Final

from tests.lab.server import FAMILIES, LEVELS

Key = tuple[str, str, str]  # schedule, family, level
Transcripts = dict[Key, list[str]]
EVERYWHERE: Final = "every server and level"


def all_keys(schedule: str) -> list[Key]:
    """Where a schedule is run."""
    return [
        (schedule, family, level)
        for family in FAMILIES
        for level in LEVELS
        if level != "SI" or family.startswith("mariadb")
    ]


def read_expected(path: Path) -> Transcripts:
    """The transcripts of a file; none where it does not exist."""
    transcripts: Transcripts = {}
    keys: list[Key] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.startswith("== "):
            keys = _read_heading(line.removeprefix("== "))
            transcripts |= {key: [] for key in keys}
        elif line:
            for key in keys:
                transcripts[key].append(line)
    return transcripts


def _read_heading(heading: str) -> list[Key]:
    schedule, _, where = heading.partition(": ")
    if where == EVERYWHERE:
        return all_keys(schedule)
    groups = (group.split() for group in where.split(", "))
    return [(schedule, family, level) for family, *levels in groups for level in levels]


def write_expected(path: Path, transcripts: Transcripts) -> None:
    """Write the transcripts, those that agree under one heading."""
    agreeing: dict[tuple[str, tuple[str, ...]], list[Key]] = {}
    order = {"wrong": 0, "right": 1}
    for key in sorted(
        transcripts,
        key=lambda key: (order.get(key[0], 2), key[0], FAMILIES.index(key[1]), list(LEVELS).index(key[2])),
    ):
        agreeing.setdefault((key[0], tuple(transcripts[key])), []).append(key)
    sections = [
        "\n".join([f"== {schedule}: {_heading(schedule, keys)}", *lines])
        for (schedule, lines), keys in agreeing.items()
    ]
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _heading(schedule: str, keys: list[Key]) -> str:
    if set(keys) == set(all_keys(schedule)):
        return EVERYWHERE
    families = {family: [level for _, of, level in keys if of == family] for family in FAMILIES}
    return ", ".join(f"{family} {' '.join(levels)}" for family, levels in families.items() if levels)
