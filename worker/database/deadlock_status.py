"""Read the text that InnoDB prints of its latest deadlock, in the forms of MariaDB and of MySQL."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise, takewhile
from typing import Final

from worker.database.record_dump import key_of

_SECTION: Final = re.compile(
    r"^-+\nLATEST DETECTED DEADLOCK\n-+\n(.*?)(?=^-+\nTRANSACTIONS\n|\Z)", re.MULTILINE | re.DOTALL
)
_TRANSACTION: Final = re.compile(r"\*\*\* \((\d{1,9})\) TRANSACTION:")
_HELD: Final = re.compile(r"\*\*\* (?:\((\d{1,9})\) HOLDS THE LOCK|CONFLICTING WITH)")
_WANTED: Final = re.compile(r"\*\*\* (?:\((\d{1,9})\) )?WAITING FOR THIS LOCK")
_VICTIM: Final = re.compile(r"\*\*\* WE ROLL BACK TRANSACTION \((\d{1,9})\)")
_HEAD: Final = re.compile(r"TRANSACTION \(?(\w+)\)?, ACTIVE \d+ sec ?(.*)")
_COUNTS: Final = re.compile(r"(\d{1,9}) lock struct\(s\)|undo log entries (\d{1,9})")
_SESSION: Final = re.compile(r"(?:MySQL|MariaDB) thread id (\d{1,18}), ")
_LOCK: Final = re.compile(
    r"(?:RECORD LOCKS .* index (?P<index>\S.*?) of table|TABLE LOCK table) (?P<table>`.*?)(?: /\*.*\*/)? "
    r"trx id (?P<owner>\w+) lock[_ ]mode (?P<mode>[A-Z]+(?:[-_]INC)?)(?P<rest>.*)"
)
_RECORD: Final = re.compile(r"Record lock, heap no \d+(?:.*info bits (\d{1,9}))?")
CLUSTERED: Final = frozenset({"PRIMARY", "GEN_CLUST_INDEX"})  # the second: a table without any key
_DELETED: Final = 32  # the bit of a record that is marked as deleted


class Kind(Enum):
    """What a lock covers."""

    RECORD = "record lock"
    GAP = "gap lock"
    NEXT_KEY = "next-key lock"
    INSERT_INTENTION = "insert intention lock"
    TABLE = "table lock"
    AUTO_INCREMENT = "auto-increment lock"


_BEFORE: Final = frozenset({Kind.GAP, Kind.INSERT_INTENTION})  # these lie before the record they are noted at


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that a transaction holds or waits for; `index` is None for a lock on the table."""

    owner: str
    table: str
    index: str | None
    mode: str
    kind: Kind
    waiting: bool = False
    keys: tuple[str, ...] = ()
    deleted: bool = False

    def __str__(self) -> str:
        mode = "" if self.kind is Kind.AUTO_INCREMENT else f"{self.mode} "
        index = f", index {self.index}" if self.index else ""
        more = f" and {len(self.keys) - 3} more" if len(self.keys) > 3 else ""  # noqa: PLR2004  # a line's worth
        place = "before " if self.kind in _BEFORE else ""
        keys = f", {place}{', '.join(self.keys[:3])}{more}" if self.keys else ""
        return f"{mode}{self.kind.value} on {self.table}{index}{keys}"


@dataclass(frozen=True, slots=True)
class DeadlockTransaction:
    """One of the transactions; each waits for the next of its deadlock, the last one for the first."""

    number: int
    transaction_id: str = ""
    session_id: int | None = None
    state: str = ""
    statement: str = ""
    lock_structs: int = 0
    undo_entries: int = 0
    held: tuple[Lock, ...] = ()
    wanted: Lock | None = None


@dataclass(frozen=True, slots=True)
class Deadlock:
    """What could be read of a section; `raw` is all of it."""

    raw: str
    detected_at: str = ""
    transactions: tuple[DeadlockTransaction, ...] = ()
    victim: int | None = None

    @property
    def readable(self) -> bool:
        """Whether it says enough to be explained: two transactions at least, and what each waits for."""
        return len(self.transactions) > 1 and all(one.wanted and one.held for one in self.transactions)

    def blocker(self, waiter: DeadlockTransaction) -> DeadlockTransaction:
        """The transaction that `waiter` waits for."""
        return self.transactions[(self.transactions.index(waiter) + 1) % len(self.transactions)]


def parse(status: str) -> Deadlock | None:
    """The latest deadlock of a monitor's text; None where there has been none. It never raises."""
    text = "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in status)
    section = _SECTION.search(text)
    if section is None:
        return None
    raw = section[1].strip("\n")
    found: dict[int, DeadlockTransaction] = {}
    locks: list[tuple[int, Lock]] = []
    number = 0
    for head, lines in _blocks(raw):
        if match := _TRANSACTION.match(head):
            number = int(match[1])
            found[number] = _transaction(number, lines)
        elif match := _HELD.match(head):
            locks += [(int(match[1]) if match[1] else -number, lock) for lock in _locks(lines)]
        elif (match := _WANTED.match(head)) and (waiter := int(match[1] or number)) in found:
            found[waiter] = replace(found[waiter], wanted=next(_locks(lines), None))
    victim = _VICTIM.search(raw)
    rolled_back = int(victim[1]) if victim and int(victim[1]) in found else None
    transactions = tuple(_with_held(one, tuple(found.values()), locks) for one in found.values())
    return Deadlock(raw, raw.split("\n", 1)[0][:19], transactions, rolled_back)


def _blocks(raw: str) -> Iterator[tuple[str, list[str]]]:
    """Each `***` line with the lines below it."""
    lines = raw.split("\n")
    heads = [number for number, line in enumerate(lines) if line.startswith("*** ")]
    for head, following in pairwise([*heads, len(lines)]):
        yield lines[head], lines[head + 1 : following]


def _transaction(number: int, lines: Sequence[str]) -> DeadlockTransaction:
    text = "\n".join(lines)
    head, session = _HEAD.search(text), _SESSION.search(text)
    counts = [(int(structs or 0), int(undo or 0)) for structs, undo in _COUNTS.findall(text)]
    below = text[session.end() :].split("\n", 1)[1:] if session else []
    return DeadlockTransaction(
        number=number,
        transaction_id=head[1] if head else "",
        session_id=int(session[1]) if session else None,
        state=head[2] if head else "",
        statement=" ".join("".join(below).split()),
        lock_structs=max((structs for structs, _ in counts), default=0),
        undo_entries=max((undo for _, undo in counts), default=0),
    )


def _with_held(
    transaction: DeadlockTransaction,
    transactions: Sequence[DeadlockTransaction],
    locks: Sequence[tuple[int, Lock]],
) -> DeadlockTransaction:
    """MySQL prints what a transaction holds, MariaDB what each conflicts with, its own locks among them."""
    ids = {one.transaction_id for one in transactions}
    held = [
        lock
        for holder, lock in locks
        if not lock.waiting
        and (
            holder == transaction.number
            if lock.owner not in ids
            else lock.owner == transaction.transaction_id
        )
    ]
    return replace(transaction, held=tuple(dict.fromkeys(held)))


def _locks(lines: Sequence[str]) -> Iterator[Lock]:
    for number, line in enumerate(lines):
        if match := _LOCK.match(line):
            below = list(takewhile(lambda line: not _LOCK.match(line), lines[number + 1 :]))
            yield _lock(match, below)


def _lock(match: re.Match[str], below: Sequence[str]) -> Lock:
    index = match["index"] and match["index"].strip("`")
    keys, deleted = [], False
    for number, line in enumerate(below):
        if record := _RECORD.match(line):
            deleted |= bool(int(record[1] or 0) & _DELETED)
            fields = takewhile(lambda field: field.startswith(" "), below[number + 1 :])
            keys.append(key_of(list(fields), clustered=index in CLUSTERED))
    return Lock(
        owner=match["owner"],
        table=match["table"].replace("`", ""),
        index=index,
        mode=match["mode"],
        kind=_kind(index, match["mode"], match["rest"]),
        waiting="waiting" in match["rest"],
        keys=tuple(key for key in keys if key),
        deleted=deleted,
    )


def _kind(index: str | None, mode: str, rest: str) -> Kind:
    if index is None:
        return Kind.AUTO_INCREMENT if mode.startswith("AUTO") else Kind.TABLE
    if "insert intention" in rest:
        return Kind.INSERT_INTENTION
    if "gap before rec" in rest:
        return Kind.GAP
    return Kind.RECORD if "rec but not gap" in rest else Kind.NEXT_KEY
