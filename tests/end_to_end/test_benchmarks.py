"""`make bench`, in its quick mode: every contestant, few orders."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import WORKER
from benchmarks.contestants import contestants

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


@pytest.mark.alone
@pytest.mark.timeout(1200)  # of which the first test takes nearly all, on a slow machine
def test_every_contestant_is_measured_and_every_order_has_its_outcome(output: Path) -> None:
    results = json.loads((output / "results.json").read_text())
    assert results["conservation"] == {"holds": True, "failures": []}
    measured = {name for name in results["figures"] if not name.startswith(("idle-p", "start-p", "half-p"))}
    assert measured == {one.name for one in contestants(WORKER)} - {"idle", "half"}
    for figure in results["figures"].values():
        assert len(figure["rounds"]) == 1
        assert 0 <= figure["low"] <= figure["median"] <= figure["high"]
    for name in ("idle", "start", "half"):
        percentiles = [
            results["figures"][f"{name}-p{percent}"]["median"] for percent in ("50", "95", "99", "99.9")
        ]
        assert percentiles == sorted(percentiles)
    assert all(goal["met"] is not None for goal in results["goals"])
    assert results["about"]["worker"] == WORKER


@pytest.mark.alone
def test_the_table_and_the_chart_show_it(output: Path) -> None:
    printed = (output / "printed").read_text()
    for line in (
        "reference worker ",
        "arq, empty jobs",
        "pages of empty jobs",
        "arq worker.main, single orders",
        "Lockstep, bulk of 100",
        "bulk / limit",
    ):
        assert line in printed
    assert ET.parse(output / "chart.svg").getroot().tag.endswith("svg")


def test_a_name_that_nobody_has_is_answered_with_those_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "nobody"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose from reference, reference-one-product," in done.stderr.replace("\n", " ")
