"""Writes build/lab/index.html: the matrix of pitfalls, servers and levels, and each pitfall as two swimlanes.

Made from `pitfalls/` alone, so it shows what was recorded, on every server. Run as `python -m tests.lab.report`.
"""

import sys
from html import escape
from pathlib import Path
from typing import Final

from tests.lab.expected import Key, Transcripts, all_keys, read_expected
from tests.lab.lanes import draw_lanes
from tests.lab.server import FAMILIES, LEVELS
from tests.lab.specification import Pitfall, load_pitfalls

OUT: Final = Path("build/lab/index.html")
STYLE: Final = Path(__file__).with_name("report.css")
SERVERS: Final = {"mariadb-10": "MariaDB 10.11", "mariadb-11": "MariaDB 11.8", "mysql": "MySQL 9.7"}
LEVEL_NAMES: Final = {
    "RC": "READ COMMITTED",
    "RR": "REPEATABLE READ",
    "SI": "REPEATABLE READ with snapshot isolation",
    "SER": "SERIALIZABLE",
}
MARKS: Final = {
    "harm": ("✗", "the harm is done"),
    "error": ("!", "an error prevents it"),
    "safe": ("✓", "it does not happen"),
}


def verdict(pitfall: Pitfall, transcript: list[str]) -> str:
    """What a wrong schedule came to: harm, an error that prevents it, or nothing bad."""
    if any(pitfall.header["harm"] in line for line in transcript):
        return "harm"
    return "error" if any("<error" in line for line in transcript) else "safe"


def write_report(out: Path) -> None:
    """The whole page, self-contained."""
    recorded = [
        (pitfall, read_expected(pitfall.path.with_suffix(".expected"))) for pitfall in load_pitfalls()
    ]
    sections = "\n".join(_section(pitfall, transcripts) for pitfall, transcripts in recorded)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>InnoDB pitfalls, reproduced</title><style>{STYLE.read_text(encoding='utf-8')}</style>\n"
        "<header><h1>InnoDB pitfalls, reproduced on purpose</h1>"
        f"<p>{len(recorded)} pitfalls of concurrent transactions, each run at every isolation level on three servers:"
        " the wrong schedule shows it, the right one prevents it.</p></header>\n"
        f"<main>{_matrix(recorded)}\n{sections}</main></html>\n",
        encoding="utf-8",
    )


def index_table() -> str:
    """Every pitfall as a line of Markdown, for the README."""
    rows = [
        f"| {pitfall.header['id']} | [{pitfall.title}](pitfalls/{pitfall.path.name}) | {pitfall.header['cure']} |"
        for pitfall in load_pitfalls()
    ]
    return "\n".join(["| id | pitfall | cure |", "|---|---|---|", *rows])


def _matrix(recorded: list[tuple[Pitfall, Transcripts]]) -> str:
    columns = [(family, level) for _, family, level in all_keys("wrong")]
    spans = {family: sum(of == family for of, _ in columns) for family in FAMILIES}
    servers = "".join(
        f"<th colspan={spans[family]} class=server>{SERVERS[family]}</th>" for family in FAMILIES
    )
    levels = "".join(f"<th title='{LEVEL_NAMES[level]}'>{level}</th>" for _, level in columns)
    rows = "\n".join(_matrix_row(pitfall, transcripts, columns) for pitfall, transcripts in recorded)
    legend = " ".join(
        f"<span class='mark {kind}'>{mark}</span> {text}" for kind, (mark, text) in MARKS.items()
    )
    meanings = "; ".join(f"{level} {name}" for level, name in LEVEL_NAMES.items())
    return (
        f"<h2>What the wrong schedule comes to</h2><p class=legend>{legend}<br>{meanings}.</p>"
        f"<div class=wide><table class=matrix><thead><tr><th class=id><th>{servers}</tr><tr><th class=id><th>{levels}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _matrix_row(pitfall: Pitfall, transcripts: Transcripts, columns: list[tuple[str, str]]) -> str:
    cells = "".join(_cell(pitfall, transcripts.get(("wrong", family, level))) for family, level in columns)
    number, title = pitfall.header["id"], escape(pitfall.title)
    return f"<tr><td class=id>{number}</td><th class=name><a href='#{number}'>{title}</a></th>{cells}</tr>"


def _cell(pitfall: Pitfall, transcript: list[str] | None) -> str:
    if transcript is None:
        return "<td></td>"
    kind = verdict(pitfall, transcript)
    mark, text = MARKS[kind]
    return f"<td class='mark {kind}' title='{text}'>{mark}</td>"


def _section(pitfall: Pitfall, transcripts: Transcripts) -> str:
    header = {name: escape(text) for name, text in pitfall.header.items()}
    return (
        f"<section id='{header['id']}'><h2><span class=id>{header['id']}</span> {escape(pitfall.title)}</h2>"
        f"<p>{header['what']}</p><p class=cure><b>Cure.</b> {header['cure']}</p>"
        f"<p class=relies>Relied on by {header['relies']}; specification <code>{pitfall.path.name}</code></p>"
        f"<div class=pair>{_schedule(pitfall, transcripts, 'wrong')}{_schedule(pitfall, transcripts, 'right')}</div>"
        "</section>"
    )


def _schedule(pitfall: Pitfall, transcripts: Transcripts, schedule: str) -> str:
    """The transcript of REPEATABLE READ in the open, those that differ from it folded away."""
    agreeing: dict[tuple[str, ...], list[Key]] = {}
    for key, lines in transcripts.items():
        if key[0] == schedule:
            agreeing.setdefault(tuple(lines), []).append(key)
    shown = sorted(agreeing.items(), key=lambda item: _rank(pitfall, schedule, *item))
    drawn = [
        f"<p class=where>{_where(keys)}</p>{draw_lanes(list(lines), pitfall.schedules[schedule].sessions)}"
        for lines, keys in shown
    ]
    others = "".join(
        f"<details><summary>{_where(keys)}</summary>{drawing.partition('</p>')[2]}</details>"
        for (_, keys), drawing in zip(shown[1:], drawn[1:], strict=True)
    )
    return f"<article class={schedule}><h3>{schedule}</h3>{drawn[0] if drawn else ''}{others}</article>"


def _rank(pitfall: Pitfall, schedule: str, lines: tuple[str, ...], keys: list[Key]) -> tuple[bool, bool, int]:
    """First where the harm is seen, then where REPEATABLE READ is."""
    harmless = schedule == "wrong" and verdict(pitfall, list(lines)) != "harm"
    return harmless, not any(level == "RR" for _, _, level in keys), -len(keys)


def _where(keys: list[Key]) -> str:
    if set(keys) == set(all_keys(keys[0][0])):
        return "every server and level"
    by_levels: dict[str, list[str]] = {}
    for family in FAMILIES:
        if levels := " ".join(level for level in LEVELS if (keys[0][0], family, level) in keys):
            by_levels.setdefault(levels, []).append(SERVERS[family])
    return "; ".join(f"{', '.join(servers)}: {levels}" for levels, servers in by_levels.items())


if __name__ == "__main__":
    write_report(OUT)
    sys.stdout.write(f"{OUT}\n")
