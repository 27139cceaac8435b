"""Real worker processes, by both commands."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.asking import PATIENCE_SECONDS
from worker.embedded import Servers

StartWorker = Callable[..., "WorkerProcess"]
ARQ: Final = ("arq", "worker.main")
LOCKSTEP: Final = ("worker", "worker")


class WorkerProcess:
    """One worker, its log in a file."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def environment(servers: Servers) -> dict[str, str]:
    """What a worker or a command of this test is told."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_")}
    return {
        **kept,
        "LOCKSTEP_MYSQL_URL": servers.mysql_url,
        "LOCKSTEP_REDIS_URL": servers.redis_url,
        "LOCKSTEP_LOG_FORMAT": "json",
    }


@pytest.fixture(params=[ARQ, LOCKSTEP], ids=["arq", "lockstep"])
def command(request: pytest.FixtureRequest) -> Sequence[str]:
    """How the workers of a test are started: each test that asks for it runs once with each."""
    started: Sequence[str] = request.param
    return started


@pytest.fixture
def other_command(command: Sequence[str]) -> Sequence[str]:
    """Of a second worker, which takes over what the first has left."""
    return LOCKSTEP if command == ARQ else ARQ


@pytest.fixture
def start_worker(environment: dict[str, str], tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker with these settings; all of them are stopped at the end."""
    workers: list[WorkerProcess] = []

    def start(command: Sequence[str] = ARQ, **settings: object) -> WorkerProcess:
        changed = {f"LOCKSTEP_{name.upper()}": str(value) for name, value in settings.items()}
        log = tmp_path / f"worker-{len(workers)}.log"
        workers.append(WorkerProcess(command, environment | changed, log))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.wait(PATIENCE_SECONDS)
