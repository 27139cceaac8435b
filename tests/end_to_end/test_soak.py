"""`make soak`, a short one, with the same faults each time; and how it ends before its time."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.asking import PATIENCE_SECONDS
from tests.soak.schedule import WORKERS

pytestmark = pytest.mark.alone
ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tests.soak", "--seed", "1"]


@pytest.mark.timeout(400)  # the soak's own limits come first
def test_twenty_seconds_of_faults_break_no_promise(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--seconds", "20", "--output", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert not results["violations"]
    assert not results["broken"]
    assert len(results["faults"]) >= 4
    assert len({fault["kind"] for fault in results["faults"]}) == len(results["faults"])
    assert sum(results["throughput"]) > 200
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) > 400
    assert "every invariant holds" in done.stdout
    for fault in results["faults"]:
        assert fault["kind"] in done.stdout
    assert ET.parse(tmp_path / "soak.svg").getroot().tag.endswith("svg")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def running_children(pid: int) -> set[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return set(filter(runs, map(int, found)))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_every_process_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "--output", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as soak:  # fmt: skip
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen: set[int] = set()
        while len(seen) < 2 + WORKERS and time.monotonic() < deadline:
            seen = running_children(soak.pid)
            time.sleep(0.1)
        soak.send_signal(how)
        said, _ = soak.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in said
    assert soak.returncode == (1 if how == signal.SIGINT else -how)
    while any(map(runs, seen)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(filter(runs, seen))
