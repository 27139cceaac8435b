"""A line chart as one SVG file: orders a second by the number of workers, with a whisker a point."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from benchmarks.chart import STYLE, nice_step
from benchmarks.figures import Figure

WIDTH: Final = 840
HEIGHT: Final = 260  # of the lines
LEFT: Final = 70  # room for the numbers of the axis
RIGHT: Final = 150  # room for the names of the lines
TOP: Final = 64
FOOT: Final = 76
INSET: Final = 30  # of the first point: room for its number
NUMBER: Final = {
    "ours": -9,
    "other": 18,
}  # from the whisker to the number, above one line and below the other
TICK: Final = 4  # half the width of a whisker's end

_MORE_STYLE: Final = """
polyline.ours { fill: none; stroke: var(--ours); stroke-width: 2; }
polyline.other { fill: none; stroke: var(--other); stroke-width: 2; }
"""
KINDS: Final = ("ours", "other")  # classes of the lines, in their order

Line = Mapping[int, Figure]  # by number of workers


def draw_curves(lines: Mapping[str, Line], *, title: str, note: str) -> str:
    """Two lines at most, by their names. The numbers of workers stand at equal distances. Light and dark."""
    sizes = sorted({size for line in lines.values() for size in line})
    most = max((figure.high for line in lines.values() for figure in line.values()), default=1.0)
    step = nice_step(most)
    steps = int(-(-most // step))
    scale = HEIGHT / (steps * step)
    distance = (WIDTH - LEFT - INSET - RIGHT) / max(1, len(sizes) - 1)
    places = {size: LEFT + INSET + number * distance for number, size in enumerate(sizes)}
    height = TOP + HEIGHT + FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}{_MORE_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>',
            f'<text class="title" x="20" y="34">{escape(title)}</text>',
            *(_level(number * step, scale) for number in range(steps + 1)),
            *(_size(size, x) for size, x in places.items()),
            f'<text class="quiet" x="{LEFT}" y="{TOP + HEIGHT + 38}">workers</text>',
            *(
                _line(name, line, places, scale, kind)
                for (name, line), kind in zip(lines.items(), KINDS, strict=False)
                if line
            ),
            f'<text class="quiet" x="20" y="{height - 12}">{escape(note)}</text>',
            "</svg>\n",
        ]
    )


def _level(value: float, scale: float) -> str:
    y = _y(value, scale)
    return (
        f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        f'<text class="quiet" x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>'
    )


def _size(size: int, x: float) -> str:
    return f'<text class="quiet" x="{x:.1f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{size}</text>'


def _line(name: str, line: Line, places: Mapping[int, float], scale: float, kind: str) -> str:
    points = [(places[size], line[size]) for size in sorted(line)]
    x, last = points[-1]
    return "".join(
        [
            f'<polyline class="{kind}" points="{_points(points, scale)}"/>',
            *(_point(x, figure, scale, kind) for x, figure in points),
            f'<text x="{x + 12:.1f}" y="{_y(last.median, scale) + 4:.1f}">{escape(name)}</text>',
        ]
    )


def _points(points: Sequence[tuple[float, Figure]], scale: float) -> str:
    return " ".join(f"{x:.1f},{_y(figure.median, scale):.1f}" for x, figure in points)


def _point(x: float, figure: Figure, scale: float, kind: str) -> str:
    low, middle, high = (_y(value, scale) for value in (figure.low, figure.median, figure.high))
    number = NUMBER[kind] + (high if kind == "ours" else low)
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{middle:.1f}" r="3.5"/>'
        f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}'
        f'M{x - TICK:.1f} {low:.1f}h{2 * TICK}M{x - TICK:.1f} {high:.1f}h{2 * TICK}"/>'
        f'<text class="number" x="{x:.1f}" y="{number:.1f}" text-anchor="middle">{figure.median:,.0f}</text>'
    )


def _y(value: float, scale: float) -> float:
    return TOP + HEIGHT - value * scale
