"""Limits of the product's own that a pause of the machine would exceed, as wide as a hang: a test of one of them sets it again."""

from types import ModuleType
from typing import Any, Final

import pytest

from tests.asking import PATIENCE_SECONDS, PATIENT
from worker.commands import dead
from worker.database import connections
from worker.queue import batch_size, cache, claims, connection, intake, relay, turns, vitals
from worker.web import accepting, beats, bodies, busy, live, recent

WIDE: Final[list[tuple[ModuleType, str]]] = [
    (accepting, "QUEUE_SECONDS"),
    (batch_size, "MOST_SECONDS"),
    (beats, "READ_SECONDS"),
    (bodies, "BODY_SECONDS"),
    (busy, "ANSWER_SECONDS"),
    (cache, "ANSWER_SECONDS"),
    (claims, "LEASE_SECONDS"),
    (connection, "ANSWER_SECONDS"),
    (connection, "CONNECT_SECONDS"),
    (connections, "CLEAN_UP_SECONDS"),
    (dead, "OUTCOME_SECONDS"),
    (intake, "STOP_SECONDS"),
    (live, "REPLAY_SECONDS"),
    (live, "SEND_SECONDS"),
    (recent, "LATENCY_SECONDS"),
    (relay, "STOP_SECONDS"),
    (turns, "ANSWER_SECONDS"),
    (vitals, "STOP_SECONDS"),
]
NEVER: Final = 10 * PATIENCE_SECONDS  # longer than a test lasts
# Settings under which the server itself ends no wait before the test has ended.
ENDLESS: Final[dict[str, Any]] = {
    "lock_wait_seconds": 2 * PATIENCE_SECONDS,
    "statement_seconds": 2.5 * PATIENCE_SECONDS,
    "transaction_seconds": 3.0 * PATIENCE_SECONDS,
    "job_seconds": 4 * PATIENCE_SECONDS,
}
ENVIRONMENT: Final = {f"LOCKSTEP_{name.upper()}": str(value) for name, value in PATIENT.items()}


def widen(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test."""
    for module, name in WIDE:
        monkeypatch.setattr(module, name, PATIENCE_SECONDS)
