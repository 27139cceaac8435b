import json
from pathlib import Path

from rich.console import Console

from benchmarks.figures import Figure, Run
from benchmarks.report import draw_main_table, draw_tables, draw_throughput, to_json, write_files


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
        console.print(draw_main_table(run))
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


def printed_apart(figures: dict[str, Figure]) -> list[list[str]]:
    console = Console(width=100, record=True)
    with console.capture() as capture:
        for table in draw_tables(Run("a worker", {}, figures)):
            console.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_many_workers_have_a_table_with_a_row_each() -> None:
    figures = {
        "workers-bulk-16": Figure("", "orders/s", [1500.0]),
        "workers-bulk-16-deferred": Figure("", "jobs", [6]),
        "workers-bulk-16-again": Figure("", "jobs", [5]),
        "workers-bulk-16-thrown-away": Figure("", "orders", [300]),
        "workers-bulk-16-conflicts": Figure("", "statements", [0]),
        "workers-single-2": Figure("", "orders/s", [2500.0]),
    }
    lines = printed_apart(figures)
    assert ["bulk,", "16", "workers", "1,500", "6.0", "5.0", "300", "0.0"] in lines
    assert ["single,", "2", "workers", "2,500"] in lines
    assert not any("4" in line for line in lines), "what was not measured has no row"


def test_starved_workers_have_a_table_with_a_column_for_each_number_of_burners() -> None:
    figures = {
        f"{name}-{what}": Figure("", "", [value])
        for name, value in {"starved-0": 20000.0, "starved-16": 900.0, "before-starved-16": 1000.0}.items()
        for what in ("delivered", "runs")
    }
    lines = printed_apart(figures)
    assert ["outcomes", "delivered", "20,000", "900", "1,000"] in lines
    assert ["starved-0", "20,000"] not in lines


def test_the_files_have_a_chart_of_many_workers_where_these_were_measured(tmp_path: Path) -> None:
    assert [path.name for path in write_files(a_run(), tmp_path)] == ["results.json", "chart.svg"]
    run = a_run()
    run.figures["workers-bulk-16"] = Figure("", "orders/s", [1500.0])
    (*_, chart) = write_files(run, tmp_path)
    assert chart.name == "workers.svg"
    assert "1,500" in chart.read_text()


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
