"""All mutants of SQL text, without its comments, and of a migration without its way back."""

import re
from collections.abc import Iterator
from typing import Final

from tests.mutation.edits import Edit

_TOKEN: Final = re.compile(
    r"""
    (?P<skipped>'(?:[^'\\]|\\.|'')*'|`[^`]*`|%\(\w+\)s|--[^\n]*)
  | (?P<phrase>\b(?:ORDER\s+BY|FOR\s+UPDATE(?:\s+SKIP\s+LOCKED)?|NOT\s+IN|IS\s+NOT)\b)
  | (?P<word>[a-z_][\w.]*)
  | (?P<number>\d+)
  | (?P<sign><>|<=|>=|\S)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_COMPARISONS: Final = {
    "=": "<>",
    "<>": "=",
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "IN": "NOT IN",
    "NOT IN": "IN",
    "IS": "IS NOT",
    "IS NOT": "IS",
}
_SWAPPED: Final = {
    **{old: (new, "comparison swapped") for old, new in _COMPARISONS.items()},
    "AND": ("OR", "AND/OR swapped"),
    "OR": ("AND", "AND/OR swapped"),
    "ASC": ("DESC", "ASC/DESC swapped"),
    "DESC": ("ASC", "ASC/DESC swapped"),
    "+": ("-", "+/- swapped"),
    "-": ("+", "+/- swapped"),
    "STRAIGHT_JOIN": ("JOIN", "STRAIGHT_JOIN weakened"),
}
_ASSIGNS: Final = {"SET", "UPDATE", "ENGINE"}  # after them `=` compares nothing
_CLAUSES: Final = _ASSIGNS | {"SELECT", "FROM", "ON", "WHERE", "HAVING", "BETWEEN"}
# A number after them is a type's.
_LENGTHS: Final = {"CHAR", "VARCHAR", "BINARY", "VARBINARY", "DATETIME", "UTC_TIMESTAMP", "CURRENT_TIMESTAMP"}
_ENDS_ORDER: Final = {"LIMIT", ";", ")", "UNION"}


def sql_edits(text: str) -> list[Edit]:
    tokens = list(_TOKEN.finditer(text.partition("-- migrate:down")[0]))
    words = [" ".join(token[0].upper().split()) for token in tokens]
    clauses = [""]  # the latest clause, for each bracket that is open
    edits: list[Edit] = []
    for index, (token, word) in enumerate(zip(tokens, words, strict=True)):
        is_assignment = word == "=" and clauses[-1] in _ASSIGNS
        is_of_between = word == "AND" and clauses[-1] == "BETWEEN"
        is_length = words[index - 1] == "(" and words[index - 2] in _LENGTHS
        if word in _SWAPPED and not is_assignment and not is_of_between:
            edits.append(Edit(*token.span(), *_SWAPPED[word]))
        elif token["number"] and not is_length:
            edits.append(Edit(*token.span(), str(int(word) + 1), "integer plus one"))
        edits.extend(_removed(tokens, words, index))
        _follow(clauses, word)
    return sorted(edits)


def _follow(clauses: list[str], word: str) -> None:
    if word == "(":
        clauses.append("")
    elif word == ")":
        clauses.pop()
    elif word.startswith("-- NAME:") or word == ";":
        clauses[:] = [""]
    elif word in _CLAUSES:
        clauses[-1] = word
    elif word == "AND" and clauses[-1] == "BETWEEN":
        clauses[-1] = ""


def _removed(tokens: list[re.Match[str]], words: list[str], index: int) -> Iterator[Edit]:
    start, end = tokens[index].span()
    if words[index] == "ORDER BY":
        yield Edit(start, tokens[_last_of_order(words, index)].end(), "", "ORDER BY removed")
    elif words[index].startswith("FOR UPDATE"):
        yield Edit(start, end, "", "FOR UPDATE removed")
        if words[index].endswith("SKIP LOCKED"):
            yield Edit(start, end, "FOR UPDATE", "SKIP LOCKED removed")


def _last_of_order(words: list[str], index: int) -> int:
    depth = 0
    for at, word in enumerate(words[index:], index):
        if depth == 0 and (word in _ENDS_ORDER or word.startswith(("FOR UPDATE", "-- "))):
            return at - 1
        depth += (word == "(") - (word == ")")
    return len(words) - 1
