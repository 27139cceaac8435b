"""The words for an explained deadlock: a log line, paragraphs for the terminal, JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from worker.database.deadlock_pitfalls import PITFALLS
from worker.database.deadlock_status import Deadlock, DeadlockTransaction, Lock
from worker.database.deadlocks import Explanation
from worker.database.named_statements import job_of, name_statement

UNREADABLE: Final = (
    "This text of InnoDB's cannot be read as a deadlock, so here it is as the server gives it."
)
_SHORT: Final = 160  # characters of a statement in the terminal
_SHORTEST: Final = 60  # and in a log line


def one_line(explanation: Explanation) -> str:
    """For a log: the pitfall, and each transaction with what it held and wanted."""
    deadlock = explanation.deadlock
    parts = [
        f"session {one.session_id}{' (victim)' if one.number == deadlock.victim else ''}"
        f" [{_what(one, _SHORTEST)}] held {_held(one)} and wanted {one.wanted}"
        for one in deadlock.transactions
    ]
    return f"{explanation.title}: {'; '.join(parts)}" if deadlock.readable else explanation.title


def as_text(explanation: Explanation) -> str:
    """For the terminal: paragraphs, or the raw section where it cannot be read."""
    deadlock = explanation.deadlock
    if not deadlock.readable:
        return f"{UNREADABLE}\n\n{deadlock.raw}"
    lines = [f"Deadlock of {deadlock.detected_at}: {explanation.title}"]
    for one in deadlock.transactions:
        lines += ["", *_paragraph(one, deadlock)]
    if explanation.still_held:
        lines += ["", "Still locked at this moment:", *(f"  {lock}" for lock in explanation.still_held)]
    alike = explanation.pitfall.alike if explanation.pitfall else ()
    lines += ["", f"Cure: {explanation.cure}"]
    if alike:
        lines += [f"InnoDB's text does not tell this from {' or '.join(_titles(alike))}."]
    return "\n".join(lines)


def _titles(ids: Iterable[str]) -> list[str]:
    return [f"{one} ({PITFALLS[one].name})" if one in PITFALLS else one for one in ids]


def to_json(explanation: Explanation) -> dict[str, Any]:
    """For machines; every value is of a JSON type."""
    deadlock = explanation.deadlock
    return {
        "readable": deadlock.readable,
        "detected_at": deadlock.detected_at,
        "pitfall": asdict(explanation.pitfall) if explanation.pitfall else None,
        "transactions": [_transaction(one, deadlock) for one in deadlock.transactions],
        "still_held": [_plain(lock) for lock in explanation.still_held],
        "raw": deadlock.raw,
    }


def told_names(transaction: DeadlockTransaction) -> str | None:
    """The named statement of `sql/` that it ran, and its job where that is one alone."""
    name = name_statement(transaction.statement)
    job = job_of(name)
    return f"{name}, job {job}" if job else name


def _paragraph(one: DeadlockTransaction, deadlock: Deadlock) -> list[str]:
    victim = ", the victim: it was rolled back" if one.number == deadlock.victim else ""
    named = told_names(one)
    return [
        f"({one.number}) session {one.session_id}{victim}",
        *([f"    statement  {named}"] if named else []),
        f"    {'text     ' if named else 'statement'}  {shorten(one.statement, _SHORT)}",
        *(f"    held       {lock}" for lock in one.held),
        f"    wanted     {one.wanted}, and waited for session {deadlock.blocker(one).session_id}",
    ]


def _what(one: DeadlockTransaction, length: int) -> str:
    return told_names(one) or shorten(one.statement, length)


def _held(one: DeadlockTransaction) -> str:
    return " and ".join(str(lock) for lock in one.held[:2])


def shorten(text: str, length: int) -> str:
    """Cut a statement for a person."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _transaction(one: DeadlockTransaction, deadlock: Deadlock) -> dict[str, Any]:
    name = name_statement(one.statement)
    return {
        "number": one.number,
        "transaction_id": one.transaction_id,
        "session_id": one.session_id,
        "victim": one.number == deadlock.victim,
        "statement": one.statement,
        "statement_name": name,
        "job": job_of(name),
        "held": [_plain(lock) for lock in one.held],
        "wanted": _plain(one.wanted) if one.wanted else None,
        "waits_for_session": deadlock.blocker(one).session_id,
    }


def _plain(lock: Lock) -> dict[str, Any]:
    return {**asdict(lock), "kind": lock.kind.value}
