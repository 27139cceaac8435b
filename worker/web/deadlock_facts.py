"""The words beside the picture of a deadlock: what it is, who took part, what prevents it."""

from typing import Any, Final

from worker.database.deadlock_status import Kind, Lock
from worker.database.deadlock_words import shorten
from worker.database.deadlocks import UNKNOWN, UNKNOWN_CURE
from worker.queue.vitals import KeptDeadlock

_STATEMENT_LENGTH: Final = 120


def facts_of(kept: KeptDeadlock) -> dict[str, Any]:
    """For JSON. Everybody who can see the picture can read this, too."""
    pitfall = kept.explanation["pitfall"]
    return {
        "at": kept.at,
        "job": kept.job,
        "pitfall": pitfall["id"] if pitfall else None,
        "title": pitfall["name"] if pitfall else UNKNOWN,
        "cure": pitfall["cure"] if pitfall else UNKNOWN_CURE,
        "transactions": [_transaction(one) for one in kept.explanation["transactions"]],
    }


def _transaction(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "session_id": one["session_id"],
        "victim": one["victim"],
        "ran": one["statement_name"] or shorten(one["statement"], _STATEMENT_LENGTH),
        "held": [_lock(lock) for lock in one["held"]],
        "wanted": one["wanted"] and _lock(one["wanted"]),
        "waits_for_session": one["waits_for_session"],
    }


def _lock(lock: dict[str, Any]) -> str:
    return str(Lock(**{**lock, "kind": Kind(lock["kind"]), "keys": tuple(lock["keys"])}))
