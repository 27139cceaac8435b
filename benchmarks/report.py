"""The figures of a run: a table and a chart for people, JSON for programs."""

from dataclasses import asdict
from typing import Any, Final

from rich.table import Table

from benchmarks.chart import draw_chart
from benchmarks.figures import Figure, Run
from benchmarks.goals import Verdict, best_limit, judge

SPEED: Final = "orders/s"
OURS: Final = "Lockstep"


def draw_table(run: Run) -> Table:
    """Every figure, then every goal."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("", "median", "min", "max", ""):
        table.add_column(name, justify="right" if name else "left")
    unit = SPEED
    for figure in sorted(run.figures.values(), key=lambda figure: figure.unit != SPEED):
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


def draw_throughput(run: Run) -> str:
    """All that places orders, as an SVG; of the limits the best alone."""
    best = best_limit(run.figures)
    shown = [
        figure
        for name, figure in run.figures.items()
        if figure.unit == SPEED and (not name.startswith("limit-") or name == best)
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
    text = "Bars: the median; whiskers: the slowest and the fastest of {rounds}. {processor}, {database}."
    return text.format(**run.about)


def _wanted(verdict: Verdict) -> str:
    goal = verdict.goal
    bound = f"≥ {goal.least:g}" if goal.least is not None else f"≤ {goal.most:g}"
    return f"{bound} {goal.unit}".strip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"  # noqa: PLR2004  # three digits are enough
