"""Small sources and every mutant of them: a draw is fair only if all mutants are there, and nothing else is."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.mutation.draw import draw, enumerate_mutants, read_faults, write_faults
from tests.mutation.edits import Edit, Fault, MovedError, apply, make_fault
from tests.mutation.plant import ChangedError, planted, try_fault
from tests.mutation.python_edits import python_edits
from tests.mutation.sql_edits import sql_edits

PYTHON: Final = '''\
"""A docstring with 1 == 2."""
LIMIT: Final[Literal[3]] = 1_000

if TYPE_CHECKING:
    import x1


class Box:
    def __repr__(self) -> str:
        return str(1 + 1)

    def put(self, ö: int = 2) -> Literal[5]:
        """Not in 3 ways."""
        if not ö and (
            self.full  # == and or
            is True
        ):
            raise ValueError(f"{ö + 1}")
        logger.info("put", many=ö + 1)
        self.size += len("é") - ö; self.tell("a" + self.name)
        return [x for x in self if 0 < x <= ö or x not in self] if self else None
'''
PYTHON_MUTANTS: Final = [
    (2, "1_000", "1001"),
    (12, "2", "3"),
    (14, "not ", ""),
    (14, "not ö and (\n            self.full  # == and or\n            is True\n        )", None),
    (14, "and", "or"),
    (16, "is", "is not"),
    (16, "True", "False"),
    (18, 'raise ValueError(f"{ö + 1}")', "pass"),
    (20, "+", "-"),
    (20, "-", "+"),
    (20, 'self.tell("a" + self.name)', "pass"),
    (21, "return [x for x in self if 0 < x <= ö or x not in self] if self else None", "return None"),
    (21, "0", "1"),
    (21, "<", "<="),
    (21, "<=", "<"),
    (21, "or", "and"),
    (21, "not in", "in"),
    (21, "self", "not (self)"),
]
SQL: Final = """\
-- name: first
-- A comment with 1 = 2.
WITH wanted AS (SELECT id FROM JSON_TABLE(%(ids)s, '$[0]' COLUMNS (id CHAR(32) PATH '$ < 1')) AS ids)
UPDATE wanted STRAIGHT_JOIN stock ON stock.id = wanted.id
   SET stock.order_by = stock.many + 1, stock.seen = IF(stock.kind IN ('a'), UTC_TIMESTAMP(6), %(a)s)
 WHERE many BETWEEN 1 AND 2 AND kind IS NOT NULL OR many <= 3

-- name: second
SELECT id FROM stock WHERE id <> 'it''s' ORDER BY LOWER(id) DESC, kind
 LIMIT %(size)s FOR UPDATE SKIP LOCKED
-- migrate:down
DROP TABLE stock WHERE 1 = 1
"""
SQL_MUTANTS: Final = [
    (4, "STRAIGHT_JOIN", "JOIN"),
    (4, "=", "<>"),
    (5, "+", "-"),
    (5, "1", "2"),
    (5, "IN", "NOT IN"),
    (6, "1", "2"),
    (6, "2", "3"),
    (6, "AND", "OR"),
    (6, "IS NOT", "IS"),
    (6, "OR", "AND"),
    (6, "<=", "<"),
    (6, "3", "4"),
    (9, "<>", "="),
    (9, "ORDER BY LOWER(id) DESC, kind", ""),
    (9, "DESC", "ASC"),
    (10, "FOR UPDATE SKIP LOCKED", ""),
    (10, "FOR UPDATE SKIP LOCKED", "FOR UPDATE"),
]


def shown(text: str, edits: list[Edit]) -> list[tuple[int, str, str]]:
    return [(text.count("\n", 0, edit.start) + 1, text[edit.start : edit.end], edit.text) for edit in edits]


def expected(mutants: list[tuple[int, str, str | None]]) -> list[tuple[int, str, str]]:
    return sorted((line, old, f"not ({old})" if new is None else new) for line, old, new in mutants)


def in_lines(first: int, last: int) -> set[int]:
    return set(range(first, last + 1))


def fault_of(text: str, edit: Edit) -> Fault:
    return make_fault(1, "jobs/some.py", text, edit)


def test_python_has_these_mutants_and_no_others() -> None:
    assert sorted(shown(PYTHON, python_edits(PYTHON, in_lines(1, 30)))) == expected(PYTHON_MUTANTS)


def test_sql_has_these_mutants_and_no_others() -> None:
    assert sorted(shown(SQL, sql_edits(SQL))) == sorted(SQL_MUTANTS)


def test_a_statement_without_a_covered_line_has_no_mutants() -> None:
    assert python_edits(PYTHON, set()) == []
    assert shown(PYTHON, python_edits(PYTHON, {18})) == [(18, 'raise ValueError(f"{ö + 1}")', "pass")]


def test_the_head_of_a_statement_counts_for_itself_alone() -> None:
    lines = {line for line, *_ in shown(PYTHON, python_edits(PYTHON, {15}))}
    assert lines == {14, 16}


def test_every_mutant_of_python_is_another_program() -> None:
    for edit in python_edits(PYTHON, in_lines(1, 30)):
        mutated = PYTHON[: edit.start] + edit.text + PYTHON[edit.end :]
        assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(PYTHON)), edit


@pytest.mark.parametrize("text", [PYTHON, SQL, "import a\na = 1\n\na = 1\n\na = 1\na = 1"])
def test_a_fault_is_its_mutant_also_when_lines_have_moved(text: str) -> None:
    edits = sql_edits(text) if text is SQL else python_edits(text, in_lines(1, 30))
    assert edits
    for edit in edits:
        mutated = text[: edit.start] + edit.text + text[edit.end :]
        fault = fault_of(text, edit)
        assert apply(fault, text) == mutated
        assert apply(fault, f"# another line\n{text}") == f"# another line\n{mutated}"


@pytest.mark.parametrize("text", ["a = 2\n", "a = 1\na = 1\n"])
def test_a_fault_whose_place_is_gone_or_not_unique_is_refused(text: str) -> None:
    (edit,) = python_edits("a = 1\n", {1})
    with pytest.raises(MovedError, match=r"jobs/some\.py"):
        apply(fault_of("a = 1\n", edit), text)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for path, text in {
        "jobs/some.py": "def f(a):\n    return a < 1\n",
        "worker/cli.py": "x = 1\n",
        "worker/web/page.py": "x = 1\ny = 2\n",
        "sql/some.sql": "SELECT 1\n",
        "sql/accounts/grants.sql": "SELECT 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "a"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_the_same_seed_draws_the_same_faults_from_all_that_are_covered(
    repository: Path, tmp_path: Path
) -> None:
    covered = {"jobs/some.py": {2}, "worker/web/page.py": {1}, "worker/cli.py": {1}}
    mutants = enumerate_mutants(repository, covered)
    assert [path for path, _ in mutants] == ["jobs/some.py"] * 3 + ["sql/some.sql", "worker/web/page.py"]
    faults = draw(repository, mutants, seed=1, count=4)
    assert faults == draw(repository, mutants, seed=1, count=4)
    assert [fault.number for fault in faults] == [1, 2, 3, 4]
    write_faults(tmp_path / "faults.json", faults)
    assert read_faults(tmp_path / "faults.json") == faults


def test_a_fault_is_there_while_the_command_runs_and_gone_afterwards(repository: Path) -> None:
    path = repository / "jobs" / "some.py"
    before, time_before = path.read_text(encoding="utf-8"), path.stat().st_mtime_ns
    fault = fault_of(before, Edit(before.index("<"), before.index("<") + 1, "<=", "comparison swapped"))
    code = "print('FAILED tests/test_a.py::test_a[b c] - AssertionError\\nERROR tests/test_b.py'); exit('a <= 1' in open('jobs/some.py').read())"
    result = try_fault(repository, fault, [sys.executable, "-c", code], limit=60)
    assert (result.status, result.failed) == (1, ["tests/test_a.py::test_a[b c]", "tests/test_b.py"])
    assert (path.read_text(encoding="utf-8"), path.stat().st_mtime_ns) == (before, time_before)
    result = try_fault(
        repository, fault, [sys.executable, "-c", "input(); import time; time.sleep(999)"], 0.1
    )
    assert result.status != 0
    assert path.read_text(encoding="utf-8") == before


def test_a_fault_is_gone_after_an_interrupt(repository: Path) -> None:
    path = repository / "jobs" / "some.py"
    before = path.read_text(encoding="utf-8")
    (edit, *_) = python_edits(before, {2})
    fault = planted(repository, fault_of(before, edit))
    fault.__enter__()
    assert path.read_text(encoding="utf-8") != before
    assert not fault.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert path.read_text(encoding="utf-8") == before


def test_a_file_with_uncommitted_changes_is_left_alone(repository: Path) -> None:
    path = repository / "jobs" / "some.py"
    text = path.read_text(encoding="utf-8")
    (edit, *_) = python_edits(text, {2})
    path.write_text(f"# mine\n{text}", encoding="utf-8")
    with pytest.raises(ChangedError, match="not committed"), planted(repository, fault_of(text, edit)):
        pytest.fail("it was planted")
    assert path.read_text(encoding="utf-8") == f"# mine\n{text}"
