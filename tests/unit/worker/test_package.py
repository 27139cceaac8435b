import subprocess
from collections.abc import Callable

import pytest

import worker

RunPython = Callable[..., subprocess.CompletedProcess[str]]


def test_an_attribute_that_is_not_there_is_an_attribute_error() -> None:
    name = "nothing"
    with pytest.raises(AttributeError, match="module 'worker' has no attribute 'nothing'"):
        getattr(worker, name)


def test_the_settings_of_arq_are_imported_when_they_are_asked_for(run_python: RunPython) -> None:
    done = run_python(
        "import sys, worker; print('worker.main' in sys.modules); print(worker.main.queue_name)",
        LOCKSTEP_MYSQL_URL="mysql://u:p@localhost/orders",
        LOCKSTEP_REDIS_URL="redis://localhost",
        LOCKSTEP_QUEUE_NAME="another",
    )
    assert done.stdout.split() == ["False", "another"]


def test_a_worker_without_settings_ends_with_one_sentence(run_python: RunPython) -> None:
    done = run_python("import worker; worker.main")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("lockstep: LOCKSTEP_MYSQL_URL is not set")
