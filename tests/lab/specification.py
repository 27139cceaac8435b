"""A pitfall as a file: a header, a set-up, and schedules of lines that say their session. The format is in README.md."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

PITFALLS: Final = Path(__file__).parent / "pitfalls"
FIELDS: Final = ("id", "what", "cure", "relies", "harm")
_SECTION: Final = re.compile(r"^-- (setup|schedule: (\w+)(?:, victim (.+))?)$")
_LINE: Final = re.compile(r"^(?P<sql>.*?);?\s*-- (?P<session>T\d|after)$")


@dataclass(frozen=True, slots=True)
class Line:
    """One statement of one session; `after` is a session of its own that looks at what is left."""

    session: str
    sql: str


@dataclass(slots=True)
class Schedule:
    """Lines in their order. `victims`: the sessions of which exactly one, never the same, is rolled back."""

    name: str
    victims: tuple[str, ...] = ()
    lines: list[Line] = field(default_factory=list)

    @property
    def sessions(self) -> list[str]:
        """The sessions that it needs, in order."""
        return sorted({line.session for line in self.lines} - {"after"})


@dataclass(slots=True)
class Pitfall:
    """One file of `pitfalls/`."""

    path: Path
    title: str
    header: dict[str, str]
    setup: list[str] = field(default_factory=list)
    schedules: dict[str, Schedule] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The field's word for it."""
        return self.path.stem


@cache
def load_pitfalls() -> list[Pitfall]:
    """Every pitfall, by catalogue id."""
    return sorted(map(read_pitfall, PITFALLS.glob("*.sql")), key=lambda pitfall: pitfall.header["id"])


def read_pitfall(path: Path) -> Pitfall:
    """Read a file; a line that is not understood is named in a ValueError."""
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    _, first = next(lines)
    pitfall = Pitfall(path, first.removeprefix("-- ").strip(), {})
    section = ""
    for number, text in lines:
        try:
            section = _read_line(pitfall, section, text)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}: {text}") from None
    if missing := [name for name in FIELDS if name not in pitfall.header]:
        raise ValueError(f"{path.name}: the header lacks {', '.join(missing)}")
    return pitfall


def _read_line(pitfall: Pitfall, section: str, text: str) -> str:
    if not text.strip():
        return section
    if match := _SECTION.match(text):
        if schedule := match[2]:
            victims = tuple((match[3] or "").split(" or ")) if match[3] else ()
            pitfall.schedules[schedule] = Schedule(schedule, victims)
        return schedule or "setup"
    if not section:
        _read_header(pitfall.header, text)
    elif section == "setup":
        _read_setup(pitfall.setup, text)
    elif match := _LINE.match(text):
        pitfall.schedules[section].lines.append(Line(match["session"], match["sql"].strip()))
    elif not text.startswith("-- "):
        raise ValueError("a line of a schedule ends with its session, as in `-- T1`")
    return section


def _read_header(header: dict[str, str], text: str) -> None:
    words = text.removeprefix("--").strip()
    name, _, value = words.partition(":")
    if name in FIELDS:
        header[name] = value.strip()
    elif header:
        last = next(reversed(header))
        header[last] += f" {words}"
    else:
        raise ValueError("the header begins with `-- id:`")


def _read_setup(setup: list[str], text: str) -> None:
    """A statement may span lines; it ends with a semicolon."""
    if setup and not setup[-1].endswith(";"):
        setup[-1] += f"\n{text}"
    else:
        setup.append(text)


def statements(setup: list[str]) -> Iterator[str]:
    """The statements of a set-up without their semicolons."""
    for statement in setup:
        if not statement.startswith("--"):
            yield statement.rstrip(";")
