"""All mutants of Python source. Text is replaced at exact positions, so that everything else stays as it is."""

import ast
import re
from collections.abc import Callable, Collection, Iterator
from itertools import accumulate, pairwise
from typing import Any, Final

from tests.mutation.edits import Edit

_SWAPPED: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
}
_ORDERED: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)  # swapped, they are not the negation
_BLOCKS: Final = (ast.stmt, ast.excepthandler, ast.match_case)
_ANNOTATIONS: Final = ("annotation", "returns")


class _Source:
    """Offsets of nodes, whose columns are in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = text.split("\n")
        self._starts = [0, *accumulate(len(line) + 1 for line in self._lines)]

    def span(self, node: Any) -> tuple[int, int]:
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def replace(self, node: ast.AST, text: str, operator: str) -> Edit:
        return Edit(*self.span(node), text, operator)

    def swap(self, left: ast.AST, sign: ast.AST, right: ast.AST, operator: str) -> Iterator[Edit]:
        """The sign between two operands; comments and brackets may stand there, too."""
        if type(sign) in _SWAPPED:
            old, new = _SWAPPED[type(sign)]
            start = self.span(left)[1]
            between = self.text[start : self.span(right)[0]]
            between = re.sub(r"#.*", lambda comment: " " * len(comment[0]), between)
            found = re.search(re.escape(old).replace(r"\ ", r"\s+"), between)
            assert found, ast.unparse(left)
            yield Edit(start + found.start(), start + found.end(), new, operator)


def python_edits(text: str, covered: Collection[int]) -> list[Edit]:
    """Those of statements that have a covered line; of a compound statement its head counts."""
    return sorted(set(_of_block(_Source(text), ast.parse(text), covered)))


def _of_block(source: _Source, block: ast.AST, covered: Collection[int]) -> Iterator[Edit]:
    if _is_left_out(block):
        return
    inner = [child for child in ast.iter_child_nodes(block) if isinstance(child, _BLOCKS)]
    if not isinstance(block, ast.Module):
        heads = [block, *getattr(block, "decorator_list", [])]
        first = min(map(_line, heads))
        end = _line(inner[0]) if inner else getattr(block, "end_lineno", first) + 1
        if any(line in covered for line in range(first, max(end, first + 1))):
            yield from _of_node(source, block)
    for child in inner:
        yield from _of_block(source, child, covered)


def _line(node: Any) -> int:
    return int(node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno)


def _is_left_out(node: ast.AST) -> bool:
    """What only people or type checkers read. Parts of f-strings have no exact place before Python 3.12."""
    match node:
        case ast.JoinedStr() | ast.FunctionDef(name="__repr__") | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Await(value=call) | call) | call:
            while isinstance(call, ast.Call | ast.Attribute):
                call = call.func if isinstance(call, ast.Call) else call.value
            return isinstance(call, ast.Name) and call.id == "logger"


def _of_node(source: _Source, node: ast.AST) -> Iterator[Edit]:
    if _is_left_out(node):
        return
    if type(node) in _OPERATORS:
        yield from _OPERATORS[type(node)](source, node)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, _BLOCKS) and name not in _ANNOTATIONS:
                yield from _of_node(source, child)


def _compare(source: _Source, node: ast.Compare) -> Iterator[Edit]:
    operands = pairwise([node.left, *node.comparators])
    for (left, right), sign in zip(operands, node.ops, strict=True):
        yield from source.swap(left, sign, right, "comparison swapped")


def _connective(source: _Source, node: ast.BoolOp) -> Iterator[Edit]:
    for left, right in pairwise(node.values):
        yield from source.swap(left, node.op, right, "and/or swapped")


def _not(source: _Source, node: ast.UnaryOp) -> Iterator[Edit]:
    if isinstance(node.op, ast.Not):
        start, end = source.span(node)
        word = re.match(r"not\s*", source.text[start:end])
        assert word
        yield Edit(start, start + word.end(), "", "not removed")


def _constant(source: _Source, node: ast.Constant) -> Iterator[Edit]:
    if isinstance(node.value, bool):
        yield source.replace(node, str(not node.value), "True/False swapped")
    elif isinstance(node.value, int):
        yield source.replace(node, str(node.value + 1), "integer plus one")


def _condition(source: _Source, node: ast.If | ast.IfExp) -> Iterator[Edit]:
    """Unless another operator makes the same of it."""
    test = node.test
    is_not = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    is_swapped = (
        isinstance(test, ast.Compare) and not isinstance(test.ops[0], _ORDERED) and len(test.ops) == 1
    )
    if not is_not and not is_swapped:
        start, end = source.span(test)
        yield Edit(start, end, f"not ({source.text[start:end]})", "condition negated")


def _removed(source: _Source, node: ast.Expr | ast.Raise) -> Iterator[Edit]:
    if isinstance(node, ast.Raise) or isinstance(node.value, ast.Call | ast.Await):
        yield source.replace(node, "pass", "statement removed")


def _return(source: _Source, node: ast.Return) -> Iterator[Edit]:
    if node.value and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield source.replace(node, "return None", "return value removed")


def _sum(source: _Source, node: ast.BinOp | ast.AugAssign) -> Iterator[Edit]:
    match node:
        case ast.BinOp(left=left, right=right) | ast.AugAssign(target=left, value=right):
            if not any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in (left, right)):
                yield from source.swap(left, node.op, right, "+/- swapped")


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


_OPERATORS: Final[dict[type[ast.AST], Callable[[_Source, Any], Iterator[Edit]]]] = {
    ast.Compare: _compare,
    ast.BoolOp: _connective,
    ast.UnaryOp: _not,
    ast.Constant: _constant,
    ast.If: _condition,
    ast.IfExp: _condition,
    ast.Expr: _removed,
    ast.Raise: _removed,
    ast.Return: _return,
    ast.BinOp: _sum,
    ast.AugAssign: _sum,
}
