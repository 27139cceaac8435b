"""Worker processes of one's own: started, stopped, and never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Final, NoReturn

from worker.embedded import Servers

STOP_SECONDS: Final = 30
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start_worker(
    servers: Servers, *command: str, log: IO[bytes] | None, log_format: str = "text"
) -> subprocess.Popen[bytes]:
    """A worker on these servers, in a session of its own so that Ctrl-C does not reach it before us."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "LOCKSTEP_MIGRATION_URL"},
        "LOCKSTEP_MYSQL_URL": servers.mysql_url,
        "LOCKSTEP_REDIS_URL": servers.redis_url,
        "LOCKSTEP_LOG_FORMAT": log_format,
    }
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> int:
    """Let the worker finish what it runs; the exit code."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextmanager
def stopped_at_the_end(workers: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Stop every worker of the list, whatever happens."""
    try:
        yield
    finally:
        for process in workers:
            process.terminate()
        for process in workers:
            stop(process)


def interrupt_on_signals() -> None:
    """Make Ctrl-C, SIGTERM and a closed terminal end this program alike, and once: what it has started ends with it.

    SIGINT too: a shell starts background jobs with it ignored.
    """
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second one must not leave anything behind
    raise KeyboardInterrupt
