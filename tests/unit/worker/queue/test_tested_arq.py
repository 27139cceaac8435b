"""The worker starts with the arq that it was tested with, and with no other."""

from importlib.metadata import version
from pathlib import Path

import pytest
from arq.worker import Worker

from worker.errors import LockstepError
from worker.queue.tested_arq import DIGESTS, TESTED, check_arq


async def of_another_arq(*_: object) -> None:
    """In place of a method of the Worker."""


def test_the_installed_arq_is_the_one_that_was_tested() -> None:
    check_arq()


def test_the_pinned_arq_is_the_one_that_was_tested() -> None:
    assert f"arq=={TESTED}" in Path("constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("method", DIGESTS)
def test_an_arq_with_another_loop_is_refused_with_a_sentence(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, method, of_another_arq)
    with pytest.raises(LockstepError) as refused:
        check_arq()
    assert str(refused.value) == (
        f"arq {version('arq')} is not the one that this worker was tested with ({method} differ):"
        f" install arq {TESTED}."
    )


def test_every_method_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("start_jobs", "finish_job"):
        monkeypatch.setattr(Worker, method, of_another_arq)
    with pytest.raises(LockstepError, match=r"\(start_jobs, finish_job differ\)"):
        check_arq()
