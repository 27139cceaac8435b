"""`python -m COMMAND` without most of its start: forked from a process that has imported the libraries and the worker."""

import asyncio
import gc
import multiprocessing
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from coverage import Coverage

import worker

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["arq.cli", "pytest", "tests.preloaded"])
MAINS: Final = {"worker.main", "worker.__main__"}  # they read the settings, or run


@dataclass(frozen=True, slots=True)
class Start:
    """What is to run, and how."""

    command: Sequence[str]
    environment: dict[str, str]
    output: Path
    errors: Path
    text: str | None = None  # on standard input, which is empty otherwise
    folder: Path | None = None


class Program:
    """A running program, with the methods of Popen that tests use."""

    def __init__(self, start: Start) -> None:
        start.output.touch()
        start.errors.touch()
        self._process = _FORKS.Process(target=_become, args=(start,), daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid: Final = self._process.pid
        self.sentinel: Final = self._process.sentinel  # readable when it has ended

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended in this moment
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def run(
    environment: dict[str, str],
    *command: str,
    text: str | None = None,
    cwd: Path | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as subprocess.run does."""

    def to_its_end() -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            program = Program(Start(command, environment, output, errors, text, cwd))
            try:
                code = program.wait(seconds)
            finally:
                program.kill()
            return subprocess.CompletedProcess(command, code, output.read_text(), errors.read_text())

    return await asyncio.to_thread(to_its_end)


def import_everything() -> None:
    """In the process that is forked: all modules of the worker, which no garbage collection looks through again."""
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if module.name not in MAINS:
            import_module(module.name)
    gc.collect()
    gc.freeze()


def _become(start: Start) -> None:
    os.environ.clear()
    os.environ.update(start.environment)
    if start.folder:
        os.chdir(start.folder)
    _redirect(start)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite that was started with nohup would hand that on
    sys.argv = [*start.command]
    measured = _go_on_measuring()
    try:
        runpy.run_module(start.command[0], run_name="__main__", alter_sys=True)
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001  # what Python itself does at this point
        sys.excepthook(*cast("Any", sys.exc_info()))
        sys.exit(1)
    finally:
        if measured:  # the end of a fork runs nothing that coverage has registered
            measured.stop()
            measured.save()


def _go_on_measuring() -> Coverage | None:
    """Of the process that this is a fork of, if the environment says so: a worker that is traced has half of its speed."""
    measured = Coverage.current()
    if measured and "COVERAGE_PROCESS_CONFIG" not in os.environ:
        measured.stop()
        return None
    return measured


def _redirect(start: Start) -> None:
    for path, stream in ((start.output, sys.stdout), (start.errors, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), stream.fileno())
    if start.text is not None:
        with tempfile.TemporaryFile() as file:
            file.write(start.text.encode())
            file.seek(0)
            os.dup2(file.fileno(), 0)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # as long as the process lives
