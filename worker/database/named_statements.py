"""Which statement of `sql/` a text of the server's is: with its parameters filled in, and cut if it is long."""

import re
from functools import cache
from typing import Final

from jobs.transaction import SQL, load_statements

_PARAMETER: Final = re.compile(r"%\(\w+\)s")
_CUT_BYTES: Final = 1000  # no server cuts a shorter text; today they all keep 3,000 bytes
# The one job that runs a statement, of those that no two jobs share.
_JOBS: Final = {
    "insert_orders": "place_orders",
    "insert_order_lines": "place_orders",
    "insert_restock": "restock",
    "add_customers": "add_catalogue",
    "add_products": "add_catalogue",
    "add_stock": "add_catalogue",
    "add_first_restocks": "add_catalogue",
    "add_purged_sales": "purge_orders",
    "add_purged_totals": "purge_orders",
    "delete_order_lines": "purge_orders",
    "delete_orders": "purge_orders",
    "mark_enqueued": "sweep_intake",
    "count_review": "write_review",
    "insert_review": "write_review",
    "record_dead_letter": "dead_letters",
    "delete_dead_letter": "dead_letters",
}


def name_statement(text: str) -> str | None:
    """Its name; names joined by "or" where the text is cut before they differ; None if it is none of them."""
    text = " ".join(text.split())
    whole = [name for name, pieces in _statements() if _is(text, pieces)]
    if whole or len(text.encode()) < _CUT_BYTES:
        return " or ".join(whole) or None
    return " or ".join(name for name, pieces in _statements() if _begins(text, pieces)) or None


def job_of(name: str | None) -> str | None:
    """The job that runs a named statement, where it is one job alone."""
    return _JOBS.get(name) if name else None


@cache
def _statements() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each statement's name, and its text between the parameters."""
    return tuple(
        (statement.name, tuple(_PARAMETER.split(" ".join(statement.text.split()))))
        for path in sorted(SQL.rglob("*.sql"))
        for statement in load_statements(str(path)).values()
    )


def _is(text: str, pieces: tuple[str, ...]) -> bool:
    if not text.startswith(pieces[0]):
        return False
    position = len(pieces[0])
    for piece in pieces[1:-1]:
        position = text.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    return text[position:].endswith(pieces[-1]) if len(pieces) > 1 else text == pieces[0]


def _begins(text: str, pieces: tuple[str, ...]) -> bool:
    """Whether the cut text may go on as this statement: its end lies in a parameter, or in a piece."""
    if not text.startswith(pieces[0]):
        return False
    position = len(pieces[0])
    for piece in pieces[1:]:
        found = text.find(piece, position)
        if found < 0:
            return True
        position = found + len(piece)
    return False
