"""What docs/reliability.md says is shown by a test is."""

import ast
import re
from pathlib import Path
from typing import Final

from tests.offenders import assert_none

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CITED: Final = re.findall(
    r"`(tests/[\w/]+\.py)::(\w+)`", (REPOSITORY / "docs" / "reliability.md").read_text("utf-8")
)


def test_faults_are_told_with_their_tests() -> None:
    assert CITED


def test_a_test_that_it_names_exists() -> None:
    functions = {path: functions_of(REPOSITORY / path) for path, _ in CITED}
    assert_none(f"{path}::{name}" for path, name in CITED if name not in functions[path])


def functions_of(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    module = ast.parse(path.read_text("utf-8"))
    return {node.name for node in module.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
