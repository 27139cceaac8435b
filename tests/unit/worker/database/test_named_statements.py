"""A statement of `sql/` is known by the text that a server shows of it."""

import re
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from jobs.transaction import SQL, Statement, load_statements
from tests.offenders import assert_none
from worker.database.named_statements import _JOBS, job_of, name_statement

ALL_STATEMENTS: Final = [
    statement for path in sorted(SQL.rglob("*.sql")) for statement in load_statements(str(path)).values()
]


def filled(statement: Statement, value: str) -> str:
    """As the server shows it, with the same value for every parameter."""
    return re.sub(r"%\(\w+\)s", lambda _: value, statement.text)


def test_a_statement_of_sql_is_known_by_its_text() -> None:
    assert ALL_STATEMENTS
    names = {statement.name: name_statement(filled(statement, "'[1, 2]'")) for statement in ALL_STATEMENTS}
    assert_none(f"{name} is taken for {known}" for name, known in names.items() if known != name)


def test_a_statement_that_the_server_has_cut_is_among_those_that_begin_alike() -> None:
    long = f"'[{'1, ' * 2000}2]'"
    names = {statement.name: name_statement(filled(statement, long)[:3000]) for statement in ALL_STATEMENTS}
    assert_none(
        f"{name} is taken for {known}"
        for name, known in names.items()
        if name not in str(known).split(" or ")
    )


def test_a_cut_text_that_may_be_several_statements_names_them_all() -> None:
    assert (
        name_statement(f"UPDATE JSON_TABLE('{'1' * 3000}") == "mark_enqueued or move_balances or move_stock"
    )


def test_a_text_of_nobodys_has_no_name() -> None:
    assert name_statement("UPDATE account SET balance = 1") is None
    assert name_statement(f"UPDATE account SET note = '{'x' * 3000}") is None
    assert name_statement("UPDATE JSON_TABLE('[]') AS other") is None
    assert job_of(None) is None


def test_a_statement_that_tells_its_job_is_used_by_that_job_alone() -> None:
    assert _JOBS
    jobs = {path.stem: path.read_text("utf-8") for path in (SQL.parent / "jobs").rglob("*.py")}
    users = {name: [job for job, text in jobs.items() if f'"{name}"' in text] for name in _JOBS}
    assert_none(
        f"{name} is said to be of {_JOBS[name]}, and is used by {', '.join(found) or 'no job'}"
        for name, found in users.items()
        if found != [_JOBS[name]]
    )


@given(st.text())
def test_any_text_has_a_name_or_none(text: str) -> None:
    name_statement(text)
    name_statement(ALL_STATEMENTS[0].text + text)
