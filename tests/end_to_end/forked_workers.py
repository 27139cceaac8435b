"""Worker processes by the dozen: forked from one that has imported the libraries, which is most of a start."""

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

_FORKS: Final = multiprocessing.get_context("forkserver")
# All but worker.main, which reads the settings. (pytest: each fork looks at the program that runs the tests.)
_FORKS.set_forkserver_preload(
    ["arq.cli", "pytest", "worker.cli", "worker.queue.tasks", "worker.queue.page_worker", __name__]
)


class Worker:
    """What `python -m` with this command runs; it is started again whenever it ends."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._arguments = (command, environment, log)
        self._loop = asyncio.get_running_loop()
        self.log = log
        self.ends = 0  # of its own
        self._start()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def stop(self) -> int | None:
        """The end; its exit code."""
        self._loop.remove_reader(self._process.sentinel)
        self._process.kill()
        self._process.join()
        return self._process.exitcode

    def _start(self) -> None:
        self._process = _FORKS.Process(target=_become, args=self._arguments, daemon=True)
        self._process.start()
        self._loop.add_reader(self._process.sentinel, self._restart)

    def _restart(self) -> None:
        self.ends += self.stop() != -signal.SIGKILL
        self._start()


def _become(command: Sequence[str], environment: dict[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    sys.argv = [*command]
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except Exception:  # noqa: BLE001  # what Python itself does at this point
        sys.excepthook(*cast("Any", sys.exc_info()))
        sys.exit(1)
