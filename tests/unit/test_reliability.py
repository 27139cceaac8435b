"""What docs/reliability.md says is shown by a test is."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CITED: Final = re.findall(
    r"`(tests/[\w/]+\.py)::(\w+)`", (REPOSITORY / "docs" / "reliability.md").read_text("utf-8")
)


def test_faults_are_told_with_their_tests() -> None:
    assert CITED


@pytest.mark.parametrize(("path", "name"), CITED)
def test_a_test_that_it_names_exists(path: str, name: str) -> None:
    module = ast.parse((REPOSITORY / path).read_text("utf-8"))
    assert name in {
        node.name for node in module.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
