"""The processes of a run are counted, and none outlives it."""

import subprocess
import sys
from pathlib import Path

RUN = """
import sys
from tests.suite import cpu
from tests.suite.processes import adopt_orphans, run
cpu.ROUNDS = 1
adopt_orphans()
with cpu.measured() as cost:
    code = run([sys.executable, "-c", sys.argv[1]])
print(code, cost.seconds)
"""
ORPHAN = "import time; print(flush=True); time.sleep(600)"
LEAVES_ONE = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {ORPHAN!r}], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid)
sys.exit(3)
"""
BUSY = "sum(number for number in range(10_000_000))"


def said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", RUN, program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_what_a_run_leaves_behind_is_ended_with_it() -> None:
    orphan, code, _ = said(LEAVES_ONE)
    assert code == "3"
    assert not Path(f"/proc/{orphan}").exists()


def test_the_time_of_what_a_child_has_started_counts() -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}], check=True)"
    _, seconds = said(nested)
    assert float(seconds) > 0.1
