"""A statement of `sql/` is known by the text that a server shows of it."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transaction import SQL, Statement, load_statements
from worker.database.named_statements import _JOBS, job_of, name_statement

ALL_STATEMENTS: Final = [
    statement for path in sorted(SQL.glob("*.sql")) for statement in load_statements(path.name).values()
]


def filled(statement: Statement, value: str) -> str:
    """As the server shows it, with the same value for every parameter."""
    return re.sub(r"%\(\w+\)s", lambda _: value, statement.text)


@pytest.mark.parametrize("statement", ALL_STATEMENTS, ids=lambda statement: statement.name)
def test_a_statement_of_sql_is_known_by_its_text(statement: Statement) -> None:
    assert name_statement(filled(statement, "'[1, 2]'")) == statement.name


@pytest.mark.parametrize("statement", ALL_STATEMENTS, ids=lambda statement: statement.name)
def test_a_statement_that_the_server_has_cut_is_among_those_that_begin_alike(statement: Statement) -> None:
    cut = filled(statement, f"'[{'1, ' * 2000}2]'")[:3000]
    assert statement.name in str(name_statement(cut)).split(" or ")


def test_a_cut_text_that_may_be_several_statements_names_them_all() -> None:
    assert (
        name_statement(f"UPDATE JSON_TABLE('{'1' * 3000}") == "move_balances or mark_enqueued or move_stock"
    )


def test_a_text_of_nobodys_has_no_name() -> None:
    assert name_statement("UPDATE account SET balance = 1") is None
    assert name_statement(f"UPDATE account SET note = '{'x' * 3000}") is None
    assert name_statement("UPDATE JSON_TABLE('[]') AS other") is None
    assert job_of(None) is None


@pytest.mark.parametrize("name", _JOBS)
def test_a_statement_that_tells_its_job_is_used_by_that_job_alone(name: str) -> None:
    users = [
        path.stem for path in (SQL.parent / "jobs").glob("*.py") if f'"{name}"' in path.read_text("utf-8")
    ]
    assert users == [_JOBS[name]]


@given(st.text())
def test_any_text_has_a_name_or_none(text: str) -> None:
    name_statement(text)
    name_statement(ALL_STATEMENTS[0].text + text)
