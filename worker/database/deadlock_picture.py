"""Draw a deadlock as SVG: the transactions below each other, an arrow for each wait."""

from collections.abc import Iterator
from html import escape
from textwrap import wrap
from typing import Final

from worker.database.deadlock_status import DeadlockTransaction
from worker.database.deadlock_words import UNREADABLE, shorten, told_names
from worker.database.deadlocks import Explanation

# In units of a phone's pixels; on a wide screen the whole is drawn half as large again, and no larger.
_WIDTH: Final = 390
_MAX_WIDTH: Final = 585
_MARGIN: Final = 14
_LANE: Final = 40  # right of the boxes, for the wait that closes the circle
_BOX: Final = _WIDTH - 2 * _MARGIN - _LANE
_LINE: Final = 17
_GAP: Final = 46  # between boxes, for an arrow
_PAD: Final = 12
_COLUMNS: Final = 41  # letters in a box's line
_TITLE_COLUMNS: Final = 45
_WIDE_COLUMNS: Final = 50  # and in a line over the whole width
_STATEMENT_LENGTH: Final = 4 * _COLUMNS

_STYLE: Final = (
    "text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1b1f24}"
    ".title{font-size:13px;font-weight:700}.quiet{fill:#57606a}.bad{fill:#b42318}.small{font-size:11px}"
    ".box{fill:#fff;stroke:#8c959f}.victim{fill:#fff4f2;stroke:#b42318;stroke-width:2}"
    ".wait{fill:none;stroke:#1f5fbf;stroke-width:2}.label{fill:#1f5fbf;font-size:11px}"
    ".ground{fill:#f6f8fa}.tip{fill:#1f5fbf}"
    "@media(prefers-color-scheme:dark){"
    "text{fill:#e8eef5}.quiet{fill:#97a5b6}.bad{fill:#ff8a80}.box{fill:#121a24;stroke:#6b7a8c}"
    ".victim{fill:#2b1517;stroke:#ff8a80}.wait{stroke:#86b7ff}.label,.tip{fill:#86b7ff}.ground{fill:#0b1017}}"
)


class _Canvas:
    """Elements from top to bottom; `y` is the lower edge of what is drawn."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.y = _MARGIN

    def text(self, text: str, css: str = "", *, x: int = _MARGIN, columns: int = _WIDE_COLUMNS) -> None:
        """One paragraph, wrapped."""
        for line in wrap(text, columns) or [""]:
            self.y += _LINE
            self.elements.append(f'<text x="{x}" y="{self.y - 4}" class="{css}">{escape(line)}</text>')

    def svg(self, title: str) -> str:
        """The file's content."""
        height = self.y + _MARGIN
        return "\n".join(
            [
                (
                    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="100%"'
                    f' style="max-width:{_MAX_WIDTH}px;height:auto;display:block;margin:auto" role="img">'
                ),
                f"<title>{escape(title)}</title>",
                f"<style>{_STYLE}</style>",
                (
                    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
                    ' orient="auto"><path d="M0,0 8,4 0,8z" class="tip"/></marker></defs>'
                ),
                f'<rect width="{_WIDTH}" height="{height}" class="ground"/>',
                *self.elements,
                "</svg>\n",
            ]
        )


def draw(explanation: Explanation) -> str:
    """A self-contained SVG file, readable on a phone."""
    deadlock, canvas = explanation.deadlock, _Canvas()
    if not deadlock.readable:
        canvas.text(UNREADABLE, "title", columns=_TITLE_COLUMNS)
        for line in deadlock.raw.split("\n"):
            canvas.text(line, "small")
        return canvas.svg(explanation.title)
    canvas.text(explanation.title, "title", columns=_TITLE_COLUMNS)
    canvas.text(f"deadlock of {deadlock.detected_at}", "quiet")
    canvas.y += _PAD
    middles = []
    for one in deadlock.transactions:
        top = canvas.y
        _draw_transaction(canvas, one, victim=one.number == deadlock.victim)
        middles.append((top + canvas.y) // 2)
        if one is not deadlock.transactions[-1]:
            _draw_wait(canvas, deadlock.blocker(one))
    canvas.elements += _closing_wait(deadlock.transactions[0], middles[-1], middles[0])
    canvas.y += _PAD
    canvas.text(f"Cure: {explanation.cure}")
    return canvas.svg(explanation.title)


def _draw_transaction(canvas: _Canvas, one: DeadlockTransaction, *, victim: bool) -> None:
    """A box; its frame comes first, as it lies below its text, but its height is known last."""
    top, place, inner = canvas.y, len(canvas.elements), _MARGIN + _PAD
    canvas.y += _PAD // 2
    canvas.text(f"session {one.session_id}", "title", x=inner)
    if victim:
        canvas.elements.append(
            f'<text x="{_MARGIN + _BOX - _PAD}" y="{canvas.y - 4}" class="bad" text-anchor="end">'
            "victim: rolled back</text>"
        )
    for text, css in _facts(one):
        canvas.text(text, css, x=inner, columns=_COLUMNS)
    canvas.y += _PAD
    frame = "box victim" if victim else "box"
    canvas.elements.insert(
        place,
        f'<rect x="{_MARGIN}" y="{top}" width="{_BOX}" height="{canvas.y - top}" rx="6" class="{frame}"/>',
    )


def _facts(one: DeadlockTransaction) -> Iterator[tuple[str, str]]:
    if named := told_names(one):
        yield named, ""
    yield shorten(one.statement, _STATEMENT_LENGTH), "small quiet"
    for lock in one.held:
        yield f"holds {lock}", ""
    yield f"wants {one.wanted}", "bad"


def _draw_wait(canvas: _Canvas, blocker: DeadlockTransaction) -> None:
    x = _MARGIN + _BOX // 4
    canvas.elements += [
        f'<path d="M{x},{canvas.y + 2} V{canvas.y + _GAP - 2}" class="wait" marker-end="url(#tip)"/>',
        (
            f'<text x="{x + 12}" y="{canvas.y + _GAP // 2 + 4}" class="label">'
            f"waits for session {blocker.session_id}</text>"
        ),
    ]
    canvas.y += _GAP


def _closing_wait(first: DeadlockTransaction, lower: int, upper: int) -> list[str]:
    edge = _MARGIN + _BOX
    lane, middle = edge + _LANE - 14, (lower + upper) // 2
    return [
        f'<path d="M{edge + 2},{lower} H{lane} V{upper} H{edge + 3}" class="wait" marker-end="url(#tip)"/>',
        (
            f'<text transform="translate({lane + 15},{middle}) rotate(-90)" text-anchor="middle" class="label">'
            f"waits for session {first.session_id}</text>"
        ),
    ]
