"""`make bench`, in its quick mode: every contestant, few orders."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import WORKER
from benchmarks.contestants import contestants
from benchmarks.many_workers import PREFIX as MANY
from benchmarks.report import APART
from benchmarks.starved import PREFIX as STARVED

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
    measured = {
        name for name in results["figures"] if not name.startswith(("idle-p", "start-p", "half-p", *APART))
    }
    everyone = {one.name for one in contestants(WORKER)}
    assert measured == {name for name in everyone if not name.startswith(APART)} - {"idle", "half"}
    for name in everyone:
        if name.startswith(MANY):
            assert {name, f"{name}-deferred", f"{name}-again", f"{name}-conflicts"} <= set(results["figures"])
        if name.startswith(STARVED):
            assert {f"{name}-delivered", f"{name}-longest-gap"} <= set(results["figures"])
    for figure in results["figures"].values():
        assert len(figure["rounds"]) == 1
        assert 0 <= figure["low"] <= figure["median"] <= figure["high"]
    for name in ("idle", "start", "half"):
        percentiles = [
            results["figures"][f"{name}-p{percent}"]["median"] for percent in ("50", "95", "99", "99.9")
        ]
        assert percentiles == sorted(percentiles)
    # Beside burners, a slow machine may deliver nothing in the seconds of the quick mode.
    unknown = {goal["goal"] for goal in results["goals"] if goal["met"] is None}
    assert all("before" in goal or "burners" in goal for goal in unknown), unknown
    assert results["about"]["worker"] == WORKER


@pytest.mark.alone
def test_the_table_and_the_chart_show_it(output: Path) -> None:
    printed = (output / "printed").read_text()
    for line in (
        "reference worker ",
        "empty jobs",
        "Lockstep, single orders",
        "Lockstep, bulk of 100",
        "bulk / limit",
        "bulk, 32 workers ",
        "runs in batches / outcome ",
    ):
        assert line in printed
    for chart in ("chart.svg", "workers.svg"):
        assert ET.parse(output / chart).getroot().tag.endswith("svg")


def test_an_earlier_checkout_has_to_be_set_up_first(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--against", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "has no virtual environment: run `make setup` there." in " ".join(done.stderr.split())


def test_a_name_that_nobody_has_is_answered_with_those_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "nobody"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose from reference, reference-one-product," in done.stderr.replace("\n", " ")
