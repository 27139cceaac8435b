"""A machine that pauses: one process of the suite at a time is stopped for some seconds, and goes on."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.suite.processes import descendants

PAUSE_SECONDS: Final = (1.0, 5.0)
BETWEEN_SECONDS: Final = (0.5, 4.0)


@contextmanager
def paused(root: int, seed: int) -> Iterator[None]:
    """Pause descendants of a process by chance until the end of the block: pytest, workers, servers, browsers."""
    ended = threading.Event()
    thread = threading.Thread(target=_pause, args=(root, random.Random(seed), ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _pause(root: int, chance: random.Random, ended: threading.Event) -> None:
    pauses = seconds = 0.0
    while not ended.wait(chance.uniform(*BETWEEN_SECONDS)):
        if running := [
            pid for pid in descendants(root) if not _is_stopped(pid)
        ]:  # a test has its own reasons
            pid = chance.choice(running)
            length = chance.uniform(*PAUSE_SECONDS)
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGSTOP)
                ended.wait(length)
                os.kill(pid, signal.SIGCONT)
                pauses, seconds = pauses + 1, seconds + length
    print(f"{pauses:.0f} pauses, {seconds:.0f} s in all")  # noqa: T201  # what the run is about


def _is_stopped(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"T", "Z"}
    return True
