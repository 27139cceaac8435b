"""Every pitfall at every level: the wrong schedule shows it, the right one prevents it, as recorded for this server."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.lab.expected import read_expected, write_expected
from tests.lab.report import index_table
from tests.lab.runner import run_schedule
from tests.lab.server import LEVELS, Server
from tests.lab.specification import Pitfall, load_pitfalls
from tests.offenders import assert_none

ROOT: Final = Path(__file__).resolve().parents[2]
_PATH: Final = re.compile(r"(?:jobs|worker|sql)/[\w/]+\.(?:py|sql)")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("pitfall", load_pitfalls(), ids=lambda pitfall: pitfall.name)
async def test_the_server_does_what_was_recorded(
    pitfall: Pitfall, level: str, server: Server, request: pytest.FixtureRequest
) -> None:
    path = pitfall.path.with_suffix(".expected")
    expected = read_expected(path)
    for schedule in pitfall.schedules.values():
        if level in server.levels:
            key = (schedule.name, server.family, level)
            transcript = await run_schedule(server, pitfall, schedule, level)
            if request.config.getoption("--record"):
                expected[key] = transcript
            assert transcript == expected.get(key), f"{schedule.name}, {server.family}, {level}"
    if request.config.getoption("--record"):
        write_expected(path, expected)


def test_the_cure_takes_the_harm_away() -> None:
    """The harm is in some wrong transcript, and in no right one: with its cure, a wrong schedule is not wrong."""
    assert load_pitfalls()
    harmed = {pitfall.name: _harmed_schedules(pitfall) for pitfall in load_pitfalls()}
    assert_none(
        f"{name}: its harm is in the transcripts of {sorted(schedules)}, not of wrong alone"
        for name, schedules in harmed.items()
        if schedules != {"wrong"}
    )


def _harmed_schedules(pitfall: Pitfall) -> set[str]:
    expected = read_expected(pitfall.path.with_suffix(".expected"))
    return {
        schedule
        for (schedule, _, _), lines in expected.items()
        if any(pitfall.header["harm"] in line for line in lines)
    }


def test_what_relies_on_the_cure_exists_and_is_tested() -> None:
    assert_none(
        f"{pitfall.name}: {fault}"
        for pitfall in load_pitfalls()
        for fault in _faults_of_reliance(pitfall.header["relies"])
    )


def _faults_of_reliance(relies: str) -> Iterator[str]:
    paths = _PATH.findall(relies)
    if not paths and not relies.startswith("nothing: "):
        yield f"neither a file nor `nothing: ` and why: {relies!r}"
    for path in paths:
        if not (ROOT / path).is_file():
            yield f"there is no {path}"
        elif path.endswith(".py"):
            module = path.removesuffix(".py").replace("/", ".")
            if not any(module in test for test in _tests()):
                yield f"no test imports {module}"


def test_every_entry_of_the_catalogue_has_its_number_once() -> None:
    numbers = [pitfall.header["id"] for pitfall in load_pitfalls()]
    assert len(numbers) == len(set(numbers))


def test_the_readme_lists_every_pitfall() -> None:
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    assert index_table() in readme, "put what report.index_table() says into tests/lab/README.md"


@cache
def _tests() -> list[str]:
    rooms = ("unit", "integration", "end_to_end")
    return [path.read_text() for room in rooms for path in (ROOT / "tests" / room).rglob("test_*.py")]
