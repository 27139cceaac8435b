"""Throughput over time as one SVG file, and under it a lane for each kind of fault."""

from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.chart import STYLE, nice_step
from tests.soak.nemesis import Done
from tests.soak.report import throughput
from tests.soak.schedule import Kind
from tests.soak.soak import Result

WIDTH: Final = 1200
LEFT: Final = 250  # room for the names of the faults
RIGHT: Final = 30
TOP: Final = 64
HEIGHT: Final = 260  # of the curve
LANE: Final = 22
FOOT: Final = 70
LEAST: Final = 3.0  # of a fault's mark: some last no time at all

_MORE_STYLE: Final = """
svg { --fault: #c4432b; }
@media (prefers-color-scheme: dark) { svg { --fault: #f0826c; } }
.curve { fill: var(--ours); }
.fault { fill: var(--fault); }
.shade { fill: var(--fault); opacity: 0.10; }
"""


def draw(result: Result) -> str:
    """Light and dark."""
    curve = throughput(result)
    seconds = max(result.seconds, len(curve))
    scale = (WIDTH - LEFT - RIGHT) / seconds
    kinds = [kind for kind in Kind if any(done.fault.kind is kind for done in result.faults)]
    bottom = TOP + HEIGHT + LANE * (len(kinds) + 1)
    height = bottom + FOOT
    title = f"Outcomes a second under {len(result.faults)} faults of {len(kinds)} kinds"
    note = f"Seed {result.seed}. Seconds after the start. A mark is as long as its fault; above, its time is shaded."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}{_MORE_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>',
            f'<text class="title" x="20" y="34">{title}</text>',
            *(_shade(done, scale) for done in result.faults),
            *_levels(max(curve)),
            *_times(seconds, scale, bottom),
            _curve(curve, scale),
            *(line for number, kind in enumerate(kinds) for line in _lane(result, kind, number, scale)),
            f'<text class="quiet" x="20" y="{height - 16}">{note}</text>',
            "</svg>\n",
        ]
    )


def _levels(most: int) -> list[str]:
    step = nice_step(most)
    levels = [step * number for number in range(int(most / step) + 1)]
    return [
        f'<line class="grid" x1="{LEFT}" y1="{_y(level, most):.1f}" x2="{WIDTH - RIGHT}" y2="{_y(level, most):.1f}"/>'
        f'<text class="quiet" x="{LEFT - 10}" y="{_y(level, most) + 4:.1f}" text-anchor="end">{level:,g}</text>'
        for level in levels
    ]


def _y(value: float, most: int) -> float:
    return TOP + HEIGHT * (1 - value / max(most, 1))


def _times(seconds: float, scale: float, bottom: int) -> list[str]:
    step = nice_step(seconds)
    return [
        f'<line class="grid" x1="{x:.1f}" y1="{TOP + HEIGHT}" x2="{x:.1f}" y2="{bottom}"/>'
        f'<text class="quiet" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{number * step:,g}</text>'
        for number in range(int(seconds / step) + 1)
        for x in [LEFT + number * step * scale]
    ]


def _curve(curve: Sequence[int], scale: float) -> str:
    most = max(curve)
    steps = "".join(f"V{_y(count, most):.1f}h{scale:.3f}" for count in curve)
    return f'<path class="curve" d="M{LEFT} {TOP + HEIGHT}{steps}V{TOP + HEIGHT}Z"/>'


def _mark(done: Done, scale: float) -> tuple[float, float]:
    """Where it begins, and its width."""
    return LEFT + done.began * scale, max(LEAST, (done.ended - done.began) * scale)


def _shade(done: Done, scale: float) -> str:
    x, width = _mark(done, scale)
    return f'<rect class="shade" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT}"/>'


def _lane(result: Result, kind: Kind, number: int, scale: float) -> list[str]:
    y = TOP + HEIGHT + LANE * (number + 1)
    marks = [_mark(done, scale) for done in result.faults if done.fault.kind is kind]
    return [
        f'<text class="quiet" x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(kind.value)}</text>',
        *(
            f'<rect class="fault" x="{x:.1f}" y="{y - 5}" width="{width:.1f}" height="10" rx="2"/>'
            for x, width in marks
        ),
    ]
