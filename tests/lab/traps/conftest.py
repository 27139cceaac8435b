"""Limits of time that a machine which pauses for some seconds keeps."""

import pytest

from tests.asking import PATIENCE_SECONDS
from worker.queue import connection, turns


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that production would give up, and send once more, would break off what these tests are about."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(turns, "ANSWER_SECONDS", PATIENCE_SECONDS)
