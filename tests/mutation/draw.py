"""All mutants there are, and some of them by a seed."""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Final

from coverage import CoverageData

from tests.mutation.edits import Edit, Fault, apply, make_fault
from tests.mutation.python_edits import python_edits
from tests.mutation.sql_edits import sql_edits

FAULTS: Final = Path("tests/mutation/faults.json")
_LEFT_OUT: Final = ("worker/cli.py", "worker/cli/", "sql/accounts/")


def enumerate_mutants(folder: Path, covered: dict[str, set[int]]) -> list[tuple[str, Edit]]:
    """By path and place. A statement in SQL counts as covered: a test holds that each is used."""
    mutants: list[tuple[str, Edit]] = []
    for path in sorted(found.relative_to(folder).as_posix() for found in _sources(folder)):
        text = (folder / path).read_text(encoding="utf-8")
        edits = sql_edits(text) if path.endswith(".sql") else python_edits(text, covered.get(path, set()))
        mutants += [(path, edit) for edit in edits if not path.startswith(_LEFT_OUT)]
    return mutants


def read_coverage(file: Path) -> dict[str, set[int]]:
    """The lines that ran, by path within the folder that the file lies in."""
    data = CoverageData(str(file))
    data.read()
    root = file.resolve().parent
    return {
        Path(path).relative_to(root).as_posix(): set(data.lines(path) or ())
        for path in data.measured_files()
        if Path(path).is_relative_to(root)
    }


def draw(folder: Path, mutants: list[tuple[str, Edit]], seed: int, count: int) -> list[Fault]:
    """So many different ones, numbered in the order of path and place."""
    faults = []
    for number, (path, edit) in enumerate(sorted(random.Random(seed).sample(mutants, count)), 1):
        text = (folder / path).read_text(encoding="utf-8")
        faults.append(make_fault(number, path, text, edit))
        apply(faults[-1], text)  # raises MovedError for a place that no lines above it make unique
    return faults


def write_faults(file: Path, faults: list[Fault]) -> None:
    """One a line, so that they can be read and compared."""
    lines = ",\n".join(json.dumps(asdict(fault), ensure_ascii=False) for fault in faults)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_faults(file: Path) -> list[Fault]:
    return [Fault(**fault) for fault in json.loads(file.read_text(encoding="utf-8"))]


def _sources(folder: Path) -> list[Path]:
    return [
        *folder.glob("worker/**/*.py"),
        *folder.glob("jobs/**/*.py"),
        *folder.glob("sql/**/*.sql"),
    ]
