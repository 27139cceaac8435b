"""The port between a job and the database: named statements, and something that runs them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

SQL: Final = Path(__file__).resolve().parent.parent / "sql"
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^--.*$", re.MULTILINE)

Row = Mapping[str, Any]
Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of `sql/`: static text with `%(name)s` parameters."""

    name: str
    text: str


def load_statements(file_name: str) -> dict[str, Statement]:
    """Read the `-- name:` blocks of a file of `sql/`, in its order, without their comments."""
    _, *blocks = _NAME.split((SQL / file_name).read_text(encoding="utf-8"))
    return {
        name: Statement(name, _COMMENT.sub("", text).strip())
        for name, text in zip(blocks[::2], blocks[1::2], strict=True)
    }


class Reader(Protocol):
    """Reads rows. A parameter that is a list is sent as one JSON array."""

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """All rows of a SELECT."""
        ...


class Transaction(Reader, Protocol):
    """One open transaction. A job can neither end it nor begin another.

    Any error of a statement ends the transaction: every later call is refused, and the job
    runs again from its start, or not at all.
    """

    async def execute(self, statement: Statement, parameters: Parameters) -> int:
        """Run a statement that writes; the number of rows that it changed."""
        ...
