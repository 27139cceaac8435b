"""Processes that may be harmed: workers, a database and a Redis. They end with the soak, whatever ends it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.soak.schedule import WORKERS
from worker.embedded import Servers
from worker.settings import PREFIX

LOOK_SECONDS: Final = 0.05
STOP_SECONDS: Final = 30
COMMAND: Final = ["arq", "worker.main"]


class Breakable:
    """A process that can be started again after its death, and its log."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        url: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log = log
        self.in_hand = asyncio.Lock()  # of one fault at a time
        self._command = command
        self._environment = environment
        self._address = urlsplit(url) if url else None
        self._process: Process | None = None

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended."""
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """A server has started when it takes connections."""
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                # The kernel kills it when we die; a session of its own keeps Ctrl-C away from it.
                "setpriv", "--pdeathsig", "KILL", *self._command,
                cwd=self.log.parent if self._address else None, env=self._environment,
                stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        while self._address and self.code is None and not await self._listens():
            await asyncio.sleep(LOOK_SECONDS)

    async def _listens(self) -> bool:
        assert self._address
        try:
            _, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        except OSError:
            return False
        writer.close()
        return True

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            if self._process:
                self._process.send_signal(number)

    async def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait for that; one that does not end is killed."""
        assert self._process
        self.tell(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.tell(signal.SIGKILL)
            await self._process.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the end of the block, frozen or not."""
        await self.start()
        try:
            yield
        finally:
            self.tell(signal.SIGCONT)
            await self.end(signal.SIGTERM)


def workers_on(servers: Servers, folder: Path) -> list[Breakable]:
    """With production's own settings, but that staged orders are overdue early."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = {
        **kept,
        "LOCKSTEP_MYSQL_URL": servers.mysql_url,
        "LOCKSTEP_REDIS_URL": servers.redis_url,
        "LOCKSTEP_LOG_FORMAT": "json",
        "LOCKSTEP_STAGED_AGAIN_SECONDS": "10",
    }
    return [
        Breakable([sys.executable, "-m", *COMMAND], folder / f"worker-{number}.log", environment=environment)
        for number in range(1, WORKERS + 1)
    ]


def database_of(servers: Servers, folder: Path) -> Breakable:
    """The private database, taken over: it starts again on the same folder and port."""
    command = _taken_over(folder / "mysql.pid")
    # Which empties the database when it starts.
    command = [word for word in command if not word.startswith("--init-file=")]
    return Breakable(command, folder / "mysql.log", url=servers.mysql_url)


def redis_of(servers: Servers, folder: Path) -> Breakable:
    """The private Redis, taken over; what it has accepted is on the disk, as in docker-compose.yml."""
    command = [*_taken_over(folder / "redis.pid"), "--appendfsync", "always"]
    return Breakable(command, folder / "redis.log", url=servers.redis_url)


def _taken_over(pid_file: Path) -> list[str]:
    """The command of a process that is ended here; whoever has started it may still wait for it."""
    pid = int(pid_file.read_text())
    command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    os.kill(pid, signal.SIGTERM)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return command
