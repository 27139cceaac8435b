"""How the server runs a statement of `sql/`, and what is bad in that: by its plan, and by the rows that it really reads."""

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pymysql import err

from jobs.transaction import SQL, Parameters, Row, Statement, Transaction, load_statements
from worker.database.transactions import Database

_PLANS = load_statements("plans.sql")
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_READS: Final = re.compile(r"(SELECT|WITH)\b(?!.*\bFOR UPDATE\b)", re.DOTALL)
# A table with so few rows is read whole, index or not: that says nothing of a larger one.
FEW_ROWS: Final = 100
MOST_READS: Final = 2_000  # of a statement that is given a few ids, or a page of ten
_JSON_TABLE: Final = "Table function: json_table"
_OF_MYSQL: Final = f"{_JSON_TABLE}; Using temporary"  # so it calls JSON_TABLE itself

ABOUT_THE_SERVER: Final = {*load_statements("deadlocks.sql"), "rows_read", "about_how_many_orders"}
# What would be a fault elsewhere, and why it is none here.
BY_DESIGN: Final[Mapping[str, str]] = {
    **dict.fromkeys(load_statements("orders/audit.sql"), "the audit reads every row, a page at a time"),
    "count_outcomes": "counts all orders, when the demo ends",
    "count_dead_letters": "counts them all, when somebody asks",
    "api_keys": "there are few keys",
    "any_product": "ends with the first row",
    "sold_by_orders": "sorts the few lines of the orders that it was given",
    "orders_with_events": "gathers the few orders that it was given",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One table of a plan: how its rows are found, and about how many the server expects."""

    kind: str
    table: str | None
    access: str | None
    key: str | None
    rows: int
    notes: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, what is bad in them, and how many rows were read (None: it was not run, since it writes or locks)."""

    statement: Statement
    parameters: Parameters
    steps: tuple[Step, ...]
    faults: tuple[str, ...]
    rows_read: int | None


def all_statements() -> dict[str, tuple[str, Statement]]:
    """Every statement of `sql/` that has a plan, by name, with the file that it is in."""
    return {
        name: (path.relative_to(SQL).as_posix(), statement)
        for path in sorted(SQL.rglob("*.sql"))
        for name, statement in load_statements(str(path)).items()
        if name not in ABOUT_THE_SERVER
    }


async def explain(database: Database, statement: Statement, examples: Parameters) -> Plan:
    """The plan; where that is good, and the statement does no more than read, it is run and its reads are counted."""
    parameters = {name: examples[name] for name in _PARAMETER.findall(statement.text)}
    asked = Statement("explain", f"EXPLAIN FORMAT=TRADITIONAL {statement.text}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", err.Warning)  # MySQL gives the statement as it has rewritten it
        steps = tuple(map(_step, await database.fetch(asked, parameters)))
    faults = tuple(fault for step in steps for fault in _faults(step))
    if faults or not _READS.match(statement.text):
        return Plan(statement, parameters, steps, faults, None)
    counting = partial(_count_reads, statement=statement, parameters=parameters)
    rows_read = await database.transact(counting, job="explain")
    if rows_read > MOST_READS:
        faults = (f"reads {rows_read:,} rows",)
    return Plan(statement, parameters, steps, faults, rows_read)


async def example_ids(database: Database) -> dict[str, Any]:
    """Ids of rows that are there: alone, and as lists."""
    (row,) = await database.fetch(_PLANS["example_ids"], {})
    known = {name: value for name, value in row.items() if value is not None}
    return known | {f"{name}s": [value] for name, value in known.items()}


async def _count_reads(transaction: Transaction, statement: Statement, parameters: Parameters) -> int:
    """By the session's own counters. To ask for them reads rows, too: always as many."""
    before = await _rows_read(transaction)
    await transaction.fetch(statement, parameters)
    after = await _rows_read(transaction)
    return 2 * after - before - await _rows_read(transaction)


async def _rows_read(transaction: Transaction) -> int:
    return sum(int(row["Value"]) for row in await transaction.fetch(_PLANS["rows_read"], {}))


def _step(row: Row) -> Step:
    rows = int(row["rows"] or 0)  # a text on MariaDB
    return Step(row["select_type"], row["table"], row["type"], row["key"], rows, row["Extra"] or "")


def _faults(step: Step) -> Iterator[str]:
    is_table = not str(step.table).startswith("<") and _JSON_TABLE not in step.notes and step.kind != "INSERT"
    notes = step.notes.replace(_OF_MYSQL, _JSON_TABLE)
    if is_table and step.access in {"ALL", "index"}:
        if step.rows < FEW_ROWS:
            return
        what = f"index {step.key} of" if step.access == "index" else "table"
        yield f"reads the whole {what} {step.table}, about {step.rows:,} rows"
    if step.access == "index_merge":
        yield f"merges the indexes {step.key} of {step.table}"
    if "Using filesort" in notes:
        yield f"sorts what it finds in {step.table} (filesort)"
    if "Using temporary" in notes:
        yield f"keeps what it finds in {step.table} in a temporary table"
