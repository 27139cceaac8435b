"""Worker processes of a contestant: started, seen to be idle, and stopped."""

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.cpu import cpu_seconds
from worker.embedded import Servers
from worker.errors import LockstepError
from worker.processes import stopped_at_the_end
from worker.settings import PREFIX

ROOT: Final = Path(__file__).resolve().parent.parent
START_SECONDS: Final = 30
START_SECONDS_EACH: Final = 3  # more: 32 workers take a while to start on two busy cores
USUAL_SIZE: Final = 2
LOOK_SECONDS: Final = 0.25
IDLE_SHARE: Final = 0.25  # of a core: an idle worker polls, and no more


class Crew(NamedTuple):
    """A command, and how many of its processes work side by side.

    With a nice value they stay in the session, and so in the scheduling group, of the benchmark: there it counts.
    """

    command: str
    size: int
    project: Path = ROOT  # the checkout that it runs, by the programs of its own .venv
    nice: int = 0
    burners: int = 0  # processes beside it that only use CPU; the measurement starts and ends them

    @property
    def label(self) -> str:
        """What its conflicts are counted under: the command alone, if it runs as people run it on two cores."""
        parts = [self.command]
        if self.project != ROOT:
            parts.append(f"in {self.project.name}")
        if self.size > USUAL_SIZE:
            parts.append(f"{self.size} workers")
        if self.nice:
            parts.append(f"nice {self.nice}, beside {self.burners} burners")
        return ", ".join(parts)


@dataclass(slots=True)
class Workers:
    """The running processes of a crew."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, crew: Crew, servers: Servers) -> None:
        """All of them at once, each by itself."""
        command = (["nice", "-n", str(crew.nice)] if crew.nice else []) + shlex.split(crew.command)
        for number in range(crew.size):
            with self._log(number).open("wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        command,
                        cwd=crew.project,
                        env=_environment(crew.project, servers),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=not crew.nice,
                        process_group=0 if crew.nice else None,  # either way, Ctrl-C does not reach it
                    )
                )

    def check_alive(self) -> None:
        """Raise LockstepError where one has ended by itself."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                raise LockstepError(f"a worker has ended by itself: see {self._log(number)}.")

    async def wait_until_idle(self) -> None:
        """Each has started, and does next to nothing. Raises LockstepError where that takes too long."""
        seconds = START_SECONDS + START_SECONDS_EACH * len(self.processes)
        try:
            async with asyncio.timeout(seconds):
                while self.count_events("started") < len(self.processes):
                    self.check_alive()
                    await asyncio.sleep(LOOK_SECONDS)
                while max(await self.shares_of_a_core(LOOK_SECONDS)) > IDLE_SHARE:
                    self.check_alive()
        except TimeoutError:
            raise LockstepError(f"the workers are not idle after {seconds} s: see {self.folder}.") from None

    async def shares_of_a_core(self, seconds: float) -> list[float]:
        """How much of a core each uses in the next seconds."""
        before = [cpu_seconds(process.pid) for process in self.processes]
        await asyncio.sleep(seconds)
        after = [cpu_seconds(process.pid) for process in self.processes]
        return [(end - begin) / seconds for begin, end in zip(before, after, strict=True)]

    def count_events(self, event: str) -> int:
        """How often their JSON logs name it."""
        line = f'"event": "{event}"'.encode()
        return sum(self._log(number).read_bytes().count(line) for number in range(len(self.processes)))

    def _log(self, number: int) -> Path:
        return self.folder / f"worker-{number + 1}.log"


@asynccontextmanager
async def running(crew: Crew | None, servers: Servers, folder: Path) -> AsyncIterator[Workers]:
    """A crew that is up and idle; no crew where the work is done without workers."""
    workers = Workers(folder)
    with stopped_at_the_end(workers.processes):
        if crew:
            workers.start(crew, servers)
            await workers.wait_until_idle()
        yield workers


def _environment(project: Path, servers: Servers) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    programs = Path(sys.executable).parent if project == ROOT else project / ".venv" / "bin"
    return kept | {
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", "")]),
        "LOCKSTEP_MYSQL_URL": servers.mysql_url,
        "LOCKSTEP_REDIS_URL": servers.redis_url,
        "LOCKSTEP_LOG_FORMAT": "json",
    }
