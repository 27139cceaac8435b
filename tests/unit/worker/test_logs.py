import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from worker.logs import set_up_logs


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, arq = logging.getLogger(), logging.getLogger("arq")
    handlers, level = root.handlers, root.level
    arq_state = (arq.handlers, arq.propagate, arq.level)
    configuration = structlog.get_config() if structlog.is_configured() else None
    yield
    root.handlers = handlers
    root.setLevel(level)
    arq.handlers, arq.propagate = arq_state[:2]
    arq.setLevel(arq_state[2])
    structlog.reset_defaults()
    if configuration is not None:
        structlog.configure(**configuration)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_an_event_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("json", "info")
    structlog.get_logger().warning("conflict", job="place_order", attempt=2)
    (line,) = lines(capsys)
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "conflict", "level": "warning", "job": "place_order", "attempt": 2}


def test_an_event_is_one_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("text", "info")
    structlog.get_logger().warning("conflict", error="dead lock")
    (line,) = lines(capsys)
    timestamp, rest = line.split(" ", 1)
    assert timestamp.startswith("timestamp=")
    assert rest == 'level=warning event=conflict error="dead lock"'


def test_lines_of_other_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("json", "info")
    logging.getLogger("some.library").error("lost %s", "connection")
    (line,) = lines(capsys)
    event = json.loads(line)
    assert (event["event"], event["level"]) == ("lost connection", "error")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "logger", [structlog.get_logger(), logging.getLogger("some.library")], ids=["ours", "other"]
)
def test_a_traceback_stays_on_one_line(
    form: Literal["text", "json"], logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs(form, "info")
    try:
        int("poison")
    except ValueError:
        logger.exception("bug")
    (line,) = lines(capsys)
    assert "Traceback" in line
    assert "ValueError: invalid literal" in line


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_left_out(
    level: str, shown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs("json", level)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)(name)
    assert len(lines(capsys)) == shown


def test_lines_of_arq_on_every_job_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("json", "info")
    logging.getLogger("arq.worker").info("place_order(content)")
    logging.getLogger("arq.worker").warning("job expired")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["job expired"]


def test_lines_of_arq_are_shown_for_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("json", "debug")
    logging.getLogger("arq.worker").info("place_order(content)")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["place_order(content)"]


def test_handlers_that_arq_has_set_up_itself_are_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("arq").addHandler(logging.StreamHandler())
    logging.getLogger("arq").propagate = False
    set_up_logs("json", "info")
    logging.getLogger("arq.worker").warning("job expired")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["job expired"]
