"""Processes that do nothing but use CPU."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from benchmarks.cpu import cpu_seconds

STARTED_SECONDS: Final = 0.1  # of CPU: who has used so much is at work
LOOK_SECONDS: Final = 0.1
# It ends with its standard input, and so with the benchmark, even if that is killed.
_BURN: Final = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    pass
"""


@contextmanager
def burning(number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many of them; none is left at the end.

    They stay in the session of the benchmark, as workers with a nice value do, and have the nice value 0.
    """
    burners: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-IS", "-c", _BURN]
    try:
        burners.extend(
            subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0) for _ in range(number)
        )
        yield burners
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.communicate()


async def wait_until_they_burn(burners: Sequence[subprocess.Popen[bytes]]) -> None:
    """All of them are at work."""
    while any(cpu_seconds(burner.pid) < STARTED_SECONDS for burner in burners):
        await asyncio.sleep(LOOK_SECONDS)
