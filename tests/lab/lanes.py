"""A transcript as swimlanes: a column a session, a row a line, waits as bars, a deadlock as crossing arrows."""

import re
from dataclasses import dataclass
from html import escape
from typing import Final

_LINE: Final = re.compile(r"^(?P<who>T\d|after|the other|exactly one of .+?): (?P<text>.*)$")
_RESULT: Final = re.compile(r"^(?P<sql>.*?)  (?P<result><waits>|<error \d+>|-> .*|\d+ rows?)$")
CROSSING: Final = "<svg viewBox='0 0 60 24' aria-hidden=true><path d='M4 4 L52 20 M56 4 L8 20' /><path d='M52 20 l-7 0 m7 0 l-4 -5 M8 20 l7 0 m-7 0 l4 -5' /></svg>"


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the drawing."""

    who: str
    sql: str
    result: str
    resumes: bool


def read_line(line: str) -> Event:
    """An event from a line of a transcript."""
    match = _LINE.match(line)
    if not match:
        return Event("after", line, "", resumes=False)
    text = match["text"]
    if text.startswith("<resumes>"):
        return Event(match["who"], "", text.removeprefix("<resumes>").strip(), resumes=True)
    if found := _RESULT.match(text):
        return Event(match["who"], found["sql"], found["result"], resumes=False)
    if text.startswith("<error") or match["who"].startswith(("the other", "exactly")):
        return Event(match["who"], "", text, resumes=False)
    return Event(match["who"], text, "", resumes=False)


def draw_lanes(transcript: list[str], sessions: list[str]) -> str:
    """A grid: its first row names the sessions."""
    events = [read_line(line) for line in transcript]
    columns = {name: number for number, name in enumerate(sessions, start=1)}
    cells = [
        f"<div class=lane style='grid-column:{column};grid-row:1'>{name}</div>"
        for name, column in columns.items()
    ]
    cells += _bars(events, columns)
    cells += [_cell(event, row, columns) for row, event in enumerate(events, start=2)]
    return f"<div class=lanes style='--sessions:{len(sessions)}'>{''.join(cells)}</div>"


def _bars(events: list[Event], columns: dict[str, int]) -> list[str]:
    """A bar between the line that waits and the one that ends the wait."""
    spans: list[tuple[str, int, int]] = []
    began: dict[str, int] = {}
    for row, event in enumerate(events, start=2):
        if event.result == "<waits>":
            began[event.who] = row
        ended = [event.who] if event.resumes else list(began) if event.who.startswith("exactly") else []
        spans += [(who, began.pop(who), row) for who in ended if who in began]
    spans += [(who, start, len(events) + 2) for who, start in began.items()]
    return [
        f"<div class=wait style='grid-column:{columns[who]};grid-row:{start + 1}/{end}'></div>"
        for who, start, end in spans
        if end > start + 1
    ]


def _cell(event: Event, row: int, columns: dict[str, int]) -> str:
    column = str(columns[event.who]) if event.who in columns else "1/-1"
    kind = "after" if event.who == "after" else "resumes" if event.resumes else "step"
    result = _result(event.result) if event.result else ""
    who = f"<b>{escape(event.who)}</b> " if event.who not in columns else ""
    sql = f"<code>{escape(event.sql)}</code>" if event.sql else "<i>goes on</i>" if event.resumes else ""
    return f"<div class='{kind}' style='grid-column:{column};grid-row:{row}'>{who}{sql}{result}</div>"


def _result(result: str) -> str:
    if result == "<waits>":
        return "<span class=waits>waits</span>"
    if result.startswith("<error"):
        number = result.strip("<>").removeprefix("error ")
        crossing = CROSSING if number == "1213" else ""
        return f"<span class=error>{crossing}error {number}</span>"
    return f"<span class=result>→ {escape(result.removeprefix('-> '))}</span>"
