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

from worker.embedded import Servers
from worker.errors import LockstepError
from worker.processes import stopped_at_the_end
from worker.settings import PREFIX

ROOT: Final = Path(__file__).resolve().parent.parent
START_SECONDS: Final = 30
LOOK_SECONDS: Final = 0.25
IDLE_SHARE: Final = 0.25  # of a core: an idle worker polls, and no more
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Crew(NamedTuple):
    """A command, and how many of its processes work side by side."""

    command: str
    size: int


@dataclass(slots=True)
class Workers:
    """The running processes of a crew."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, crew: Crew, servers: Servers) -> None:
        """All of them at once."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment = kept | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "LOCKSTEP_MYSQL_URL": servers.mysql_url,
            "LOCKSTEP_REDIS_URL": servers.redis_url,
            "LOCKSTEP_LOG_FORMAT": "json",
        }
        for number in range(crew.size):
            with self._log(number).open("wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        shlex.split(crew.command),
                        cwd=ROOT,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def check_alive(self) -> None:
        """Raise LockstepError where one has ended by itself."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                raise LockstepError(f"a worker has ended by itself: see {self._log(number)}.")

    async def wait_until_idle(self) -> None:
        """Each has started, and does next to nothing. Raises LockstepError where that takes too long."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while self.count_events("started") < len(self.processes):
                    self.check_alive()
                    await asyncio.sleep(LOOK_SECONDS)
                while max(await self.shares_of_a_core(LOOK_SECONDS)) > IDLE_SHARE:
                    self.check_alive()
        except TimeoutError:
            raise LockstepError(
                f"the workers are not idle after {START_SECONDS} s: see {self.folder}."
            ) from None

    async def shares_of_a_core(self, seconds: float) -> list[float]:
        """How much of a core each uses in the next seconds."""
        before = [_cpu_seconds(process.pid) for process in self.processes]
        await asyncio.sleep(seconds)
        after = [_cpu_seconds(process.pid) for process in self.processes]
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


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime
