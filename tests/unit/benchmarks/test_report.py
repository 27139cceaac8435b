import json

from rich.console import Console

from benchmarks.figures import Figure, Run
from benchmarks.report import draw_table, draw_throughput, to_json


def a_run() -> Run:
    figures = {
        "reference": Figure("reference worker", "orders/s", [390.0, 380.0, 400.0]),
        "limit-1": Figure("limit 1", "orders/s", [1000.0]),
        "limit-64": Figure("limit 64", "orders/s", [4886.0]),
        "bulk-2": Figure("Lockstep, bulk", "orders/s", [4000.0]),
        "idle-p50": Figure("latency when idle, p50", "ms", [14.06]),
    }
    about = {"rounds": 3, "processor": "2 x a processor", "database": "a database"}
    return Run("arq worker.main", about, figures, {"arq worker.main": 2})


def printed(run: Run) -> list[list[str]]:
    console = Console(width=100, record=True)
    with console.capture() as capture:
        console.print(draw_table(run))
    return [line.split() for line in capture.get().splitlines()]


def test_the_table_has_every_figure_with_its_extremes_and_its_unit() -> None:
    lines = printed(a_run())
    assert ["reference", "worker", "390", "380", "400", "orders/s"] in lines
    assert ["latency", "when", "idle,", "p50", "14.1", "14.1", "14.1", "ms"] in lines


def test_the_table_says_which_goals_are_met() -> None:
    lines = printed(a_run())
    assert ["bulk", "/", "reference", "10.26", "≥", "10", "met"] in lines
    assert ["conflicts", "of", "Lockstep's", "workers", "2", "≤", "0", "missed"] in lines
    assert ["latency", "at", "half", "load,", "p99", "≤", "150", "ms", "not", "measured"] in lines


def test_a_round_that_does_not_count_is_told() -> None:
    run = a_run()
    assert ["rounds", "that", "count", "all"] in printed(run)
    run.failures.append("bulk-2: 1 orders have no outcome")
    assert ["rounds", "that", "count", "not", "all"] in printed(run)
    assert ["bulk-2:", "1", "orders", "have", "no", "outcome"] in printed(run)
    assert to_json(run)["conservation"] == {"holds": False, "failures": run.failures}


def test_the_results_are_json_with_every_round() -> None:
    results = json.loads(json.dumps(to_json(a_run())))
    assert results["about"]["worker"] == "arq worker.main"
    assert results["figures"]["reference"] == {
        "label": "reference worker",
        "unit": "orders/s",
        "median": 390.0,
        "low": 380.0,
        "high": 400.0,
        "rounds": [390.0, 380.0, 400.0],
    }
    assert results["goals"][0]["met"] is True


def test_the_chart_shows_speeds_alone_and_the_best_limit_alone() -> None:
    chart = draw_throughput(a_run())
    assert "Lockstep, bulk" in chart
    assert "limit 64" in chart
    assert "limit 1<" not in chart
    assert "latency" not in chart
