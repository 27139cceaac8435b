"""What holds for every statement of sql/ and can be seen without a server."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from jobs.transaction import SQL, load_statements
from tests.offenders import assert_none

NAMED = [
    (path.relative_to(SQL).as_posix(), statement)
    for path in sorted(SQL.rglob("*.sql"))
    for statement in load_statements(str(path)).values()
]
STATEMENTS = [statement for _, statement in NAMED]
LOCKS = ("locks.sql", "orders/locks.sql")  # of the machinery, and of the shop
SOURCES = [path for room in ("jobs", "worker") for path in sorted((SQL.parent / room).rglob("*.py"))]
SQL_KEYWORD = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|SET|START|BEGIN|COMMIT"
    r"|ROLLBACK|SAVEPOINT|LOCK|UNLOCK|CALL|SHOW|EXPLAIN|KILL|USE)\b"
)
# A transaction's frame, a session's settings, and the account of a private server: no job runs these.
ALLOWED = {
    ("worker/database/transactions.py", "SET"),
    ("worker/database/transactions.py", "COMMIT"),
    ("worker/database/connections.py", "SET"),
    ("worker/database/connections.py", "KILL"),
    ("worker/database/plans.py", "EXPLAIN"),  # of a statement of sql/, for a person
    ("worker/database/plans.py", "INSERT"),  # what a plan calls one
    ("worker/embedded.py", "GRANT"),
    ("worker/embedded.py", "WITH"),
    ("worker/embedded.py", "DROP"),
    ("worker/queue/endings.py", "SET"),  # a command of Redis
}


def loaded_file(node: ast.expr | None) -> str | None:
    match node:
        case ast.Call(func=ast.Name(id="load_statements"), args=[ast.Constant(value=str(file))]):
            return file
    return None


def variables_of(tree: ast.Module) -> dict[str, str]:
    """The module's variables that hold a whole file of statements, and which."""
    variables: dict[str, str] = {}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=variable)], value=value)
                | ast.AnnAssign(target=ast.Name(id=variable), value=value)
            ):
                if file := loaded_file(value):
                    variables[variable] = file
    return variables


def used_statements(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """File and name of `load_statements(file)[name]`, directly or through a module's variable."""
    variables = variables_of(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=value, slice=ast.Constant(value=str(name))):
                held = variables.get(value.id) if isinstance(value, ast.Name) else loaded_file(value)
                if held:
                    yield held, name


def used_by_the_code() -> set[tuple[str, str]]:
    return {used for path in SOURCES for used in used_statements(ast.parse(path.read_text(encoding="utf-8")))}


def test_every_statement_is_used() -> None:
    # orders/audit.sql is used whole
    assert NAMED
    defined = {(file, statement.name) for file, statement in NAMED if file != "orders/audit.sql"}
    assert defined - used_by_the_code() == set()


def test_every_statement_that_is_used_exists() -> None:
    used = used_by_the_code()
    assert ("orders/locks.sql", "lock_stock") in used
    assert used - {(file, statement.name) for file, statement in NAMED} == set()


def test_no_two_statements_have_the_same_name() -> None:
    marks = [
        line.removeprefix("-- name: ")
        for path in sorted(SQL.rglob("*.sql"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*--\s*name\b", line)
    ]
    assert sorted(marks) == sorted(set(marks))
    assert set(marks) == {statement.name for statement in STATEMENTS}


def test_every_statement_says_under_its_name_what_it_is_for() -> None:
    names = {file for file, _ in NAMED}
    files = {name: (SQL / name).read_text(encoding="utf-8").splitlines() for name in sorted(names)}
    below = [
        (file, name, comment)
        for file, lines in files.items()
        for name, comment in pairwise([*lines, ""])
        if name.startswith("-- name: ")
    ]
    assert {file for file, _, _ in below} == set(files)
    assert_none(
        f"{file}, {name}: {comment!r} is no sentence"
        for file, name, comment in below
        if not re.match(r"-- (?!name\b)\S.+\.$", comment)
    )


def test_rows_are_locked_by_the_statements_of_two_files_alone() -> None:
    locking = {
        path.relative_to(SQL).as_posix(): re.findall(
            r"FOR\s+UPDATE|FOR\s+SHARE|IN\s+SHARE\s+MODE", path.read_text("utf-8"), re.IGNORECASE
        )
        for path in sorted(SQL.rglob("*.sql"))
    }
    assert all(locking.pop(file) for file in LOCKS)
    assert_none(f"{file}: {', '.join(found)}" for file, found in locking.items() if found)


def test_every_statement_of_these_files_locks() -> None:
    assert_none(
        f"{statement.name} ends with {statement.text[-30:]!r}"
        for file in LOCKS
        for statement in load_statements(file).values()
        if not re.search(r"\bFOR UPDATE( SKIP LOCKED)?$", statement.text)
    )


def test_no_statement_changes_a_table_or_ends_a_transaction() -> None:
    forbidden = (
        r"CREATE|ALTER|DROP|TRUNCATE|RENAME|GRANT|BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|LOCK TABLES|CALL"
    )
    assert_none(
        f"{statement.name}: {', '.join(found)}"
        for statement in STATEMENTS
        if (found := re.findall(rf"\b({forbidden})\b", statement.text, re.IGNORECASE))
    )


def test_a_name_stands_for_one_statement() -> None:
    assert_none(
        f"{statement.name} has a semicolon: {statement.text}"
        for statement in STATEMENTS
        if ";" in statement.text
    )


def test_every_percent_sign_begins_a_parameter() -> None:
    texts = {statement.name: re.sub(r"%\(\w+\)s", "", statement.text) for statement in STATEMENTS}
    assert_none(f"{name} has another percent sign: {text}" for name, text in texts.items() if "%" in text)


def test_no_sql_is_written_in_python() -> None:
    found = {
        (path.relative_to(SQL.parent).as_posix(), keyword[1])
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if (keyword := SQL_KEYWORD.match(node.value))
    }
    assert ("worker/database/transactions.py", "COMMIT") in found
    assert found - ALLOWED == set()
