"""A bar chart as one SVG file: orders a second, with a whisker from the slowest to the fastest round."""

from collections.abc import Sequence
from html import escape
from math import floor, log10
from typing import Final

from benchmarks.figures import Figure

WIDTH: Final = 840
LEFT: Final = 310  # of the bars: room for the labels
RIGHT: Final = 70  # room for the number of the longest bar
TOP: Final = 56
ROW: Final = 30
BAR: Final = 16
FOOT: Final = 46
MOST_STEPS: Final = 6

STYLE: Final = """
svg { --ground: #ffffff; --ink: #1f2328; --quiet: #59636e; --line: #d8dee4; --other: #8c96a0; --ours: #1a7f5a; }
@media (prefers-color-scheme: dark) {
  svg { --ground: #0d1117; --ink: #e6edf3; --quiet: #9198a1; --line: #30363d; --other: #6e7681; --ours: #3fb68b; }
}
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink); }
.title { font-size: 16px; font-weight: 600; }
.quiet { fill: var(--quiet); font-size: 12px; }
.number { font-variant-numeric: tabular-nums; font-weight: 600; }
.ground { fill: var(--ground); }
.grid { stroke: var(--line); }
.other { fill: var(--other); }
.ours { fill: var(--ours); }
.whisker { stroke: var(--ink); stroke-width: 1.5; fill: none; }
"""


def draw_chart(figures: Sequence[Figure], *, title: str, note: str, ours: str) -> str:
    """A bar a figure, in their order; those whose label begins with `ours` stand out. Light and dark."""
    step = nice_step(max((figure.high for figure in figures), default=1.0))
    steps = -(-max((figure.high for figure in figures), default=1.0) // step)
    scale = (WIDTH - LEFT - RIGHT) / (steps * step)
    bottom = TOP + ROW * len(figures)
    ticks = [_tick(LEFT + number * step * scale, bottom, number * step) for number in range(int(steps) + 1)]
    bars = [
        _bar(figure, TOP + number * ROW, scale, "ours" if figure.label.startswith(ours) else "other")
        for number, figure in enumerate(figures)
    ]
    height = bottom + FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>',
            f'<text class="title" x="20" y="32">{escape(title)}</text>',
            *ticks,
            *bars,
            f'<text class="quiet" x="20" y="{height - 10}">{escape(note)}</text>',
            "</svg>\n",
        ]
    )


def nice_step(most: float) -> float:
    """1, 2 or 5 times a power of ten, so that few steps reach `most`."""
    power = 10.0 ** floor(log10(most / MOST_STEPS)) if most > 0 else 1.0
    return next(power * times for times in (1, 2, 5, 10) if most / (power * times) <= MOST_STEPS)


def _tick(x: float, bottom: float, value: float) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        f'<text class="quiet" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:,g}</text>'
    )


def _bar(figure: Figure, y: float, scale: float, kind: str) -> str:
    middle = y + BAR / 2
    low, high = LEFT + figure.low * scale, LEFT + figure.high * scale
    return (
        f'<text x="{LEFT - 10}" y="{middle + 4.5}" text-anchor="end">{escape(figure.label)}</text>'
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{figure.median * scale:.1f}" height="{BAR}" rx="2"/>'
        f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"/>'
        f'<text class="number" x="{high + 8:.1f}" y="{middle + 4.5}">{figure.median:,.0f}</text>'
    )
