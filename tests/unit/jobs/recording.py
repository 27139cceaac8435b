import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from jobs.transaction import Parameters, Row, Statement

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_KEY: Final = re.compile(r"PATH '\$\.(\w+)'")
_COLUMN: Final = re.compile(r"^ *(\w+) +[A-Z].* PATH '\$\[(\d+)\]'", re.MULTILINE)
_NESTED: Final = "NESTED PATH '$[1][*]'"
_AGGREGATE: Final = re.compile(r"JSON_ARRAYAGG\(JSON_ARRAY\((.+)\)\) AS (\w+)")


class RecordingTransaction:
    """Answers `fetch` with the rows of the statement's name, and keeps every call.

    Reads and writes JSON as the text of the statement says: arrays that are sent become rows with the names of the
    statement's columns, and rows that it aggregates become one array. Refuses what a server would refuse: parameters
    that the statement does not name, and arrays that are not fit for JSON or have other columns.
    """

    def __init__(self, rows: Mapping[str, Sequence[Row]] | None = None, *, changed: int = 0) -> None:
        self.statements: list[str] = []
        self._rows = rows or {}
        self._changed = changed
        self._parameters: dict[str, dict[str, Any]] = {}

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        self._record(statement, parameters)
        return _aggregated(statement, self._rows[statement.name])

    async def execute(self, statement: Statement, parameters: Parameters) -> int:
        self._record(statement, parameters)
        return self._changed

    def sent(self, name: str) -> dict[str, Any]:
        """The parameters of the one time that the statement ran."""
        assert self.statements.count(name) == 1
        return self._parameters[name]

    def _record(self, statement: Statement, parameters: Parameters) -> None:
        assert set(parameters) == set(_PARAMETER.findall(statement.text)), statement.name
        sent = {name: orjson.loads(orjson.dumps(value)) for name, value in parameters.items()}
        self.statements.append(statement.name)
        self._parameters[statement.name] = {
            name: _table(statement, value) if isinstance(value, list) else value
            for name, value in sent.items()
        }


def _aggregated(statement: Statement, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, or the one row that JSON_ARRAYAGG makes of them."""
    if not (aggregate := _AGGREGATE.search(statement.text)):
        return rows
    columns = re.findall(r"(?:\w+\.)?(\b[a-z]\w+)", aggregate[1])
    arrays = [[row[column] for column in columns] for row in rows]
    return [{"found": len(arrays), aggregate[2]: orjson.dumps(arrays).decode() if arrays else None}]


def _table(statement: Statement, rows: list[Any]) -> list[Any]:
    """The rows that JSON_TABLE makes of an array of arrays; an array of objects or of ids as it is."""
    outer, nested, inner = statement.text.partition(_NESTED)
    columns, inner_columns = _COLUMN.findall(outer), _COLUMN.findall(inner)
    if not columns:
        keys = set(_KEY.findall(statement.text))
        assert not keys or all(keys <= set(row) for row in rows), statement.name
        return rows
    table = []
    for row in rows:
        *values, lines = row if nested else [*row, [[]]]
        table += [_named(columns, values) | _named(inner_columns, line) for line in lines]
    return table


def _named(columns: Sequence[tuple[str, str]], values: Sequence[Any]) -> dict[str, Any]:
    assert len(columns) == len(values), f"{columns} cannot hold {values}"
    return {name: values[int(place)] for name, place in columns}
