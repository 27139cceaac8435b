"""The processes of a run: all that pytest starts, and what that starts in its turn."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """On Linux, make what its parent leaves behind a child of this process, so that it is seen, counted and ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(command: list[str]) -> int:
    """Run a program to its end, and then end what it has left; its exit code.

    Ctrl-C reaches the program and not this process; SIGTERM becomes a Ctrl-C for the program.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = os.posix_spawn(command[0], command, os.environ, setsigdef=[signal.SIGINT])
    signal.signal(signal.SIGTERM, lambda *_: os.kill(program, signal.SIGINT))
    while (ended := os.wait())[0] != program:  # orphans end here, too
        pass
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with suppress(ChildProcessError):  # none is left
        while os.wait():
            pass
    return os.waitstatus_to_exitcode(ended[1])


def descendants(root: int) -> list[int]:
    """The processes below one, in the order of their ids."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                children = [int(pid) for pid in task.read_text().split()]
                found += children
                waiting += children
    return sorted(found)
