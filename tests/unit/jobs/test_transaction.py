from pathlib import Path

import pytest

from jobs import transaction
from jobs.transaction import Statement, load_statements


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(transaction, "SQL", tmp_path)
    return tmp_path


def test_statements_are_loaded_by_name_in_the_order_of_the_file(sql: Path) -> None:
    (sql / "some.sql").write_text("-- name: second\n-- Why.\nSELECT 2\n\n-- name: first\n-- Why.\nSELECT 1\n")
    assert list(load_statements("some.sql").values()) == [
        Statement("second", "SELECT 2"),
        Statement("first", "SELECT 1"),
    ]


def test_comments_are_not_sent_to_the_server(sql: Path) -> None:
    (sql / "some.sql").write_text("-- name: only\n-- Why.\nSELECT 1,\n-- what\n       '-- text'\n")
    assert load_statements("some.sql")["only"].text == "SELECT 1,\n\n       '-- text'"


def test_what_stands_before_the_first_name_is_no_statement(sql: Path) -> None:
    (sql / "some.sql").write_text("-- About this file.\n\n-- name: only\nSELECT 1\n")
    assert load_statements("some.sql") == {"only": Statement("only", "SELECT 1")}


def test_a_file_without_names_has_no_statements(sql: Path) -> None:
    (sql / "some.sql").write_text("SELECT 1\n")
    assert load_statements("some.sql") == {}


def test_text_is_read_as_utf_8(sql: Path) -> None:
    (sql / "some.sql").write_text("-- name: only\nSELECT 'Käse'\n", encoding="utf-8")
    assert load_statements("some.sql")["only"].text == "SELECT 'Käse'"


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.sql"):
        load_statements("nothing.sql")
