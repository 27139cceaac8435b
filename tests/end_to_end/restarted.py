"""Workers that a test kills at will: each is started again whenever it ends."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.forked import Program, Start


class Worker:
    """What `python -m` with this command runs, again and again."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._how = Start(command, environment, log, log)
        self._loop = asyncio.get_running_loop()
        self.log = log
        self.ends = 0  # of its own
        self._start()

    def kill(self) -> None:
        """SIGKILL."""
        self._program.kill()

    def stop(self) -> int:
        """The end; its exit code."""
        self._loop.remove_reader(self._program.sentinel)
        self._program.kill()
        return self._program.wait()

    def _start(self) -> None:
        self._program = Program(self._how)
        self._loop.add_reader(self._program.sentinel, self._restart)

    def _restart(self) -> None:
        self.ends += self.stop() != -signal.SIGKILL
        self._start()
