"""Real processes: workers and the web."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.asking import PATIENCE_SECONDS, until
from tests.end_to_end.own_servers import free_port
from tests.forked import Program, Start
from worker.embedded import Servers

StartWorker = Callable[..., "WorkerProcess"]
StartWeb = Callable[..., Awaitable["WebProcess"]]
ARQ: Final = ("arq", "worker.main")
LOCKSTEP: Final = ("worker", "worker")  # the same worker, and what supervises several


class WorkerProcess:
    """One worker, its log in a file."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.process = Program(Start(command, environment, log, log))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM; the exit code. The test's loop goes on: proxies that stand in it, too."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)


class WebProcess:
    """One web process, its log in a file."""

    def __init__(self, environment: dict[str, str], log: Path, *options: str) -> None:
        self.log = log
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = ("worker", "web", "--port", str(port), *options)
        self.process = Program(Start(command, environment, log, log))

    async def listening(self) -> "WebProcess":
        async def listens() -> bool:
            return b'"listening"' in self.log.read_bytes()

        await until(listens, "the web to listen")
        return self

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return await self.ended()

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)


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


@pytest.fixture
def start_worker(environment: dict[str, str], tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker with these settings; all of them are stopped at the end."""
    workers: list[WorkerProcess] = []

    def start(command: Sequence[str] = ARQ, **settings: object) -> WorkerProcess:
        changed = {f"LOCKSTEP_{name.upper()}": str(value) for name, value in settings.items()}
        # Not traced: it takes half of its speed. What it runs is measured where demo, up and web start one.
        kept = {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
        log = tmp_path / f"worker-{len(workers)}.log"
        workers.append(WorkerProcess(command, kept | changed, log))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.wait(PATIENCE_SECONDS)


@pytest.fixture
async def start_web(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[StartWeb]:
    """Start `lockstep web` with these options and settings; all are stopped at the end."""
    started: list[WebProcess] = []

    async def start(*options: str, **changed: object) -> WebProcess:
        more = {f"LOCKSTEP_{name.upper()}": str(value) for name, value in changed.items()}
        started.append(WebProcess(environment | more, tmp_path / f"web-{len(started)}.log", *options))
        return await started[-1].listening()

    yield start
    for web in started:
        await web.terminate()
