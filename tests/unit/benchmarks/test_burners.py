import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.burners import burning, wait_until_they_burn
from benchmarks.cpu import cpu_seconds, cpu_seconds_of_trees
from tests.asking import until

BENCHMARK = """
import time
from benchmarks.burners import burning

with burning(2) as burners:
    print(*(burner.pid for burner in burners), flush=True)
    time.sleep(600)
"""
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"])
print(flush=True)
input()
"""


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # ended, and not waited for


async def test_burners_use_cpu_and_are_gone_at_the_end() -> None:
    with burning(2) as burners:
        await wait_until_they_burn(burners)
        pids = [burner.pid for burner in burners]
        used = sum(map(cpu_seconds, pids))
        assert used > 0
        assert cpu_seconds_of_trees([os.getpid()]) >= used
    assert not any(map(is_running, pids))


def test_burners_are_gone_when_the_benchmark_is_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt), burning(2) as burners:  # noqa: PT012  # what is interrupted is the block
        pids = [burner.pid for burner in burners]
        raise KeyboardInterrupt
    assert not any(map(is_running, pids))


async def test_burners_end_with_a_benchmark_that_is_killed() -> None:
    pids = start_and_kill_a_benchmark()

    async def ended() -> bool:
        return not any(map(is_running, pids))

    await until(ended, "the burners to end")


def start_and_kill_a_benchmark() -> list[int]:
    with subprocess.Popen([sys.executable, "-c", BENCHMARK], stdout=subprocess.PIPE) as benchmark:
        assert benchmark.stdout
        pids = [*map(int, benchmark.stdout.readline().split())]
        benchmark.kill()
    assert len(pids) == 2
    return pids


def test_the_cpu_of_a_tree_counts_children_that_have_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        parent.stdout.readline()
        assert cpu_seconds_of_trees([parent.pid]) > cpu_seconds(parent.pid) + 0.05
        parent.communicate(b"\n")
