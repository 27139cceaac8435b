"""The figures of a run: a table and a chart for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.chart import draw_chart
from benchmarks.contestants import FIXED
from benchmarks.curve import draw_curves
from benchmarks.figures import Figure, Run
from benchmarks.goals import Verdict, best_limit, judge
from benchmarks.many_workers import KINDS, SIZES, label_of
from benchmarks.many_workers import PREFIX as MANY
from benchmarks.starved import BURNERS
from benchmarks.starved import PREFIX as STARVED

SPEED: Final = "orders/s"
OURS: Final = "Lockstep"
APART: Final = (MANY, STARVED, FIXED)  # figures whose names begin so have tables of their own


def draw_main_table(run: Run) -> Table:
    """Every figure that has no table of its own, then every goal."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("", "median", "min", "max", ""):
        table.add_column(name, justify="right" if name else "left")
    unit = SPEED
    figures = [figure for name, figure in run.figures.items() if not name.startswith(APART)]
    for figure in sorted(figures, key=lambda figure: figure.unit != SPEED):
        if figure.unit != unit:
            table.add_row()
        unit = figure.unit
        table.add_row(figure.label, *map(_number, (figure.median, figure.low, figure.high)), unit)
    table.add_row()
    table.add_row("[bold]goal", "[bold]is", "[bold]wanted")
    for verdict in judge(run):
        said = {True: "[green]met", False: "[red]missed", None: "[dim]not measured"}[verdict.met]
        value = "" if verdict.value is None else f"{verdict.value:,.4g}"
        table.add_row(verdict.goal.text, value, _wanted(verdict), "", said)
    table.add_row("rounds that count", "", "", "", "[red]not all" if run.failures else "[green]all")
    for failure in run.failures:
        table.add_row(f"[red]{failure}")
    return table


def draw_workers(run: Run) -> Table:
    """What many workers came to, by the medians."""
    rows = {label_of(kind, size): f"{MANY}{kind}-{size}" for kind in KINDS for size in SIZES}
    columns = {
        SPEED: "", "deferred": "-deferred", "claimed again": "-again", "thrown away": "-thrown-away",
        "conflicts": "-conflicts",
    }  # fmt: skip
    table = _matrix("", columns)
    for label, name in rows.items():
        _add_row(table, label, [run.figures.get(name + suffix) for suffix in columns.values()])
    return table


def draw_starved(run: Run) -> Table:
    """What three starved workers came to, by the medians."""
    columns = {str(burners): f"{STARVED}{burners}" for burners in BURNERS} | {"16, before": FIXED}
    rows = {
        "outcomes delivered": "delivered", "outcomes/s": "rate", "runs in batches / outcome": "runs",
        "runs thrown away": "thrown-away", "jobs deferred": "deferred", "jobs claimed again": "again",
        "longest gap between outcomes, s": "longest-gap", "longest wait for an outcome, s": "longest-wait",
        "outcomes / CPU second": "per-cpu-second", "conflicts": "conflicts",
    }  # fmt: skip
    table = _matrix("beside so many burners", columns)
    for label, suffix in rows.items():
        _add_row(table, label, [run.figures.get(f"{name}-{suffix}") for name in columns.values()])
    return table


def _matrix(what: str, columns: Iterable[str]) -> Table:
    table = Table(what, box=None, padding=(0, 1), header_style="bold")
    for heading in columns:
        table.add_column(heading, justify="right")
    return table


def _add_row(table: Table, label: str, cells: Sequence[Figure | None]) -> None:
    if any(cells):
        table.add_row(label, *(_number(figure.median) if figure else "" for figure in cells))


def draw_tables(run: Run) -> list[Table]:
    """All that was measured, and last the goals."""
    tables = [draw_workers(run), draw_starved(run), draw_main_table(run)]
    return [table for table in tables if table.row_count]


def write_files(run: Run, folder: Path) -> list[Path]:
    """The results for programs, and the charts; their paths."""
    contents = {"results.json": json.dumps(to_json(run), indent=2) + "\n"}
    contents["chart.svg"] = draw_throughput(run)
    if any(name.startswith(MANY) for name in run.figures):
        contents["workers.svg"] = draw_by_workers(run)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def draw_by_workers(run: Run) -> str:
    """Orders a second by the number of workers, as an SVG."""
    lines = {
        label: {size: figure for size in SIZES if (figure := run.figures.get(f"{MANY}{kind}-{size}"))}
        for kind, label in {"bulk": "bulk of 100", "single": "single orders"}.items()
    }
    return draw_curves(lines, title="Orders a second by the number of workers on one queue", note=_note(run))


def draw_throughput(run: Run) -> str:
    """All that places orders, as an SVG; of the limits the best alone."""
    best = best_limit(run.figures)
    shown = [
        figure
        for name, figure in run.figures.items()
        if figure.unit == SPEED
        and not name.startswith(APART)
        and (not name.startswith("limit-") or name == best)
    ]
    return draw_chart(
        shown, title="Orders a second, two workers unless it says one", note=_note(run), ours=OURS
    )


def to_json(run: Run) -> dict[str, Any]:
    """All of it."""
    return {
        "about": run.about | {"worker": run.worker},
        "figures": {name: _summary(figure) for name, figure in run.figures.items()},
        "goals": [
            {
                "goal": verdict.goal.text,
                "wanted": _wanted(verdict),
                "value": verdict.value,
                "met": verdict.met,
            }
            for verdict in judge(run)
        ],
        "conflicts": run.conflicts,
        "conservation": {"holds": not run.failures, "failures": run.failures},
    }


def _summary(figure: Figure) -> dict[str, Any]:
    return {"median": figure.median, "low": figure.low, "high": figure.high} | asdict(figure)


def _note(run: Run) -> str:
    text = "The median; whiskers: the slowest and the fastest of {rounds}. {processor}, {database}."
    return text.format(**run.about)


def _wanted(verdict: Verdict) -> str:
    goal = verdict.goal
    bound = f"≥ {goal.least:g}" if goal.least is not None else f"≤ {goal.most:g}"
    return f"{bound} {goal.unit}".strip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"  # noqa: PLR2004  # three digits are enough
