"""One fault in the work tree, while a command runs."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutation.edits import Fault, apply

LOGS: Final = Path("build/mutation")
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)  # pytest's short summary
_STOP_SECONDS: Final = 60


class ChangedError(Exception):
    """The file of a fault has changes that are not committed, which its restoration might hide."""


class Result(NamedTuple):
    seconds: float
    status: int | None  # None: the command was ended at the time limit
    failed: list[str]


def try_fault(folder: Path, fault: Fault, command: Sequence[str], limit: float) -> Result:
    """What the command says to the fault; all that it prints is in `build/mutation/`."""
    log = folder / LOGS / f"{fault.number}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with planted(folder, fault), log.open("wb") as output:
        status = _run(folder, command, limit, output.fileno())
    failed = dict.fromkeys(_FAILED.findall(log.read_text(encoding="utf-8", errors="replace")))
    return Result(time.monotonic() - start, status, list(failed))


@contextmanager
def planted(folder: Path, fault: Fault) -> Iterator[None]:
    """The file with the fault in it; afterwards as it was, its time included.

    Python compares the size and the second of a change to see whether its compiled file is old. So each fault has a
    second of its own.
    """
    path = folder / fault.path
    asked = ["git", "status", "--porcelain", "--", fault.path]
    if subprocess.run(asked, cwd=folder, check=True, capture_output=True).stdout:
        raise ChangedError(f"{fault.path} has changes that are not committed: commit or undo them first.")
    original, stat = path.read_bytes(), path.stat()
    mutated = apply(fault, original.decode()).encode()
    try:
        path.write_bytes(mutated)
        os.utime(path, (stat.st_atime, int(stat.st_mtime) + fault.number))
        yield
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _run(folder: Path, command: Sequence[str], limit: float, output: int) -> int | None:
    """In a process group of its own, which ends with it: a fault may leave processes behind."""
    process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for ending in (signal.SIGINT, signal.SIGKILL):  # pytest stops its servers at the first
        try:
            os.killpg(process.pid, ending)
            process.wait(_STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
