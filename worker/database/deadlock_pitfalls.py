"""Which pitfall of the catalogue a deadlock is, by its shape, and what prevents it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.database.deadlock_status import CLUSTERED, Deadlock, DeadlockTransaction, Kind, Lock


@dataclass(frozen=True, slots=True)
class Pitfall:
    """An entry of the catalogue; `alike` are entries that InnoDB's text cannot tell from it."""

    id: str
    name: str
    cure: str
    alike: tuple[str, ...] = ()


_INSERT_FIRST: Final = (
    "Insert first and let the unique key decide: a locking read, an UPDATE or a DELETE that finds nothing"
    " locks the gap, and everybody may hold the same gap."
)
_ONE_INSERTER: Final = (
    "Let one transaction alone insert a key, or run the victim again: who waits for a duplicate key gets a"
    " shared lock first, and two of those block each other's insert."
)
PITFALLS: Final = {
    pitfall.id: pitfall
    for pitfall in (
        Pitfall(
            "P21",
            "rows locked in opposite order",
            "Lock the rows of every transaction in one global order: sort the ids before the first lock.",
            ("P22",),
        ),
        Pitfall(
            "P22",
            "a scan by another index locks rows in another order",
            "Lock by primary key in ascending order (FORCE INDEX (PRIMARY), or a row at a time): ORDER BY does"
            " not order the locks.",
        ),
        Pitfall(
            "P23",
            "a descending scan meets an ascending one",
            "Let every statement lock rows by ascending id.",
        ),
        Pitfall(
            "P24",
            "two scans reach the same rows by two indexes",
            "Find the ids first without locks, then lock by primary key in ascending order.",
        ),
        Pitfall(
            "P25",
            "secondary index against primary key",
            "Find the ids first without locks, then lock and write by primary key only.",
        ),
        Pitfall("P26", "two inserts into a gap that both have locked", _INSERT_FIRST, ("P29", "P30")),
        Pitfall(
            "P27",
            "two inserts beyond the last row, where both have locked the end of the index",
            _INSERT_FIRST,
            ("P26", "P29", "P30"),
        ),
        Pitfall("P31", "two inserts of a key whose first inserter rolled back", _ONE_INSERTER),
        Pitfall("P32", "two inserts of a key that was just deleted", _ONE_INSERTER),
        Pitfall(
            "P33",
            "an insert that met a duplicate key, then an update of that row",
            "Roll back after error 1062 and before the update, or use ON DUPLICATE KEY UPDATE: the insert that"
            " failed (or was ignored) keeps a shared lock.",
            ("P34",),
        ),
        Pitfall(
            "P35",
            "upserts in opposite order",
            "Sort the rows by key before INSERT ... ON DUPLICATE KEY UPDATE, and give the table one unique key"
            " only.",
        ),
        Pitfall(
            "P36",
            "replaces in opposite order",
            "Sort the rows by key; REPLACE deletes and inserts, so prefer INSERT ... ON DUPLICATE KEY UPDATE.",
        ),
        Pitfall(
            "P37",
            "a foreign key's shared lock on the parent, then an update of the parent",
            "Lock the parent row FOR UPDATE before inserting the child, or update it first.",
        ),
        Pitfall(
            "P39",
            "a shared lock, then an update of the same row",
            "Read FOR UPDATE what the transaction is going to write.",
        ),
        Pitfall(
            "P41",
            "a scan that locks every row it passes, as no index leads to its rows",
            "Give the WHERE an index, or lock the rows by primary key: under REPEATABLE READ a scan locks all that"
            " it reads.",
        ),
    )
}

_VERB: Final = re.compile(r"(?:/\*.*?\*/\s*)*(\w+)")
_UPSERT: Final = re.compile(r"\bon\s+duplicate\s+key\s+update\b", re.IGNORECASE)
_DESCENDING: Final = re.compile(r"\border\s+by\b.*\bdesc\b", re.IGNORECASE)
_FORCED: Final = re.compile(r"\b(?:force|use)\s+index\s*\(\s*(?!`?primary\b)", re.IGNORECASE)
_PRIMARY_SCAN_STRUCTS: Final = 3  # of a scan of the primary key: the table, the rows held, the row wanted
_FOREIGN_KEY_STRUCTS: Final = 5  # child, parent to read, parent row, parent to write, the row wanted
_SHARED_READ_STRUCTS: Final = 4  # the table to read, the row, the table to write, the row wanted


@dataclass(frozen=True, slots=True)
class _Shape:
    """What tells the pitfalls apart. `parents`: the tables that foreign keys point at, where that is known."""

    transactions: Sequence[DeadlockTransaction]
    parents: frozenset[str] | None
    wanted: Sequence[Lock] = field(init=False)
    held: Sequence[Lock] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wanted", [one.wanted for one in self.transactions if one.wanted])
        object.__setattr__(self, "held", [lock for one in self.transactions for lock in one.held])

    def verbs(self) -> set[str]:
        """The first words of the statements."""
        found = (_VERB.match(one.statement) for one in self.transactions)
        return {match[1].lower() for match in found if match}

    def shared(self) -> bool:
        """Whether everybody holds shared locks alone and wants an exclusive one."""
        return all(lock.mode == "S" for lock in self.held) and all(lock.mode == "X" for lock in self.wanted)

    def upgrades(self) -> bool:
        """Whether those exclusive locks are on the very rows that each has locked already."""
        return self.shared() and all(
            one.wanted and any({*one.wanted.keys} <= {*lock.keys} for lock in one.held)
            for one in self.transactions
        )

    def scans(self) -> list[DeadlockTransaction]:
        """The transactions that wait in the midst of a scan by a secondary index."""
        return [
            one
            for one in self.transactions
            if _FORCED.search(one.statement)
            or (one.state == "fetching rows" and one.lock_structs > _PRIMARY_SCAN_STRUCTS)
        ]


def recognize(deadlock: Deadlock, parents: frozenset[str] | None = None) -> Pitfall | None:
    """The pitfall of a readable deadlock; None where the catalogue has no such shape."""
    shape = _Shape(deadlock.transactions, parents)
    for rule in _RULES:
        if pitfall := rule(shape):
            return PITFALLS[pitfall]
    return None


def _rewrite(shape: _Shape) -> str | None:
    if "replace" in shape.verbs():
        return "P36"
    return "P35" if any(_UPSERT.search(one.statement) for one in shape.transactions) else None


def _gap(shape: _Shape) -> str | None:
    intentions = [lock for lock in shape.wanted if lock.kind is Kind.INSERT_INTENTION]
    if not intentions:
        return None
    if shape.shared():
        return "P31"
    return "P27" if all("the end of the index" in lock.keys for lock in intentions) else "P26"


def _upgrade(shape: _Shape) -> str | None:
    if not shape.upgrades():
        return None
    if shape.verbs() == {"insert"}:
        return "P32" if any(lock.deleted for lock in shape.wanted) else "P31"
    if _of_foreign_key(shape):
        return "P37"
    read = any(one.lock_structs >= _SHARED_READ_STRUCTS for one in shape.transactions)
    return "P39" if read else "P33"


def _of_foreign_key(shape: _Shape) -> bool:
    """A foreign key locks the parent's row alone, for a transaction that has written the child."""
    if shape.parents is not None and not any(lock.table in shape.parents for lock in shape.held):
        return False
    return all(lock.kind is Kind.RECORD for lock in shape.held) and all(
        one.undo_entries and one.lock_structs >= _FOREIGN_KEY_STRUCTS for one in shape.transactions
    )


def _indexes(shape: _Shape) -> str | None:
    kinds = {lock.index in CLUSTERED for lock in shape.wanted}
    return "P25" if len(kinds) > 1 and len({lock.table for lock in shape.wanted}) == 1 else None


def _scan(shape: _Shape) -> str | None:
    if any(_DESCENDING.search(one.statement) for one in shape.transactions):
        return "P23"
    if scans := shape.scans():
        return "P24" if len(scans) > 1 else "P22"
    passed = [
        lock
        for lock in (*shape.wanted, *shape.held)
        if lock.kind is Kind.NEXT_KEY and lock.index in CLUSTERED and lock.mode == "X"
    ]
    return "P41" if passed else None


def _order(shape: _Shape) -> str | None:
    rows = all(lock.kind in {Kind.RECORD, Kind.NEXT_KEY} for lock in shape.wanted)
    return "P21" if rows else None


_RULES: Final[Sequence[Callable[[_Shape], str | None]]] = (_rewrite, _gap, _upgrade, _indexes, _scan, _order)
