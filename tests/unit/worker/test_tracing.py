import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from worker import tracing
from worker.errors import LockstepError
from worker.queue.wire import Payload

RunPython = Callable[..., CompletedProcess[str]]
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
OTHER = f"00-{'c' * 32}-{'d' * 16}-00"


@pytest.fixture(autouse=True)
def _nobody_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)


def test_where_nobody_traces_what_came_in_is_passed_on() -> None:
    assert tracing.current() is None
    with tracing.span("process", "CONSUMER", parent=TRACE) as outer:
        assert outer == tracing.current() == TRACE
        with tracing.span("publish", "PRODUCER", parent=OTHER):
            assert tracing.current() == OTHER
        assert tracing.current() == TRACE
    assert tracing.current() is None


def test_where_nobody_traces_and_nothing_came_in_there_is_nothing() -> None:
    with tracing.span("send", "PRODUCER", links=[TRACE], orders=3) as traceparent:
        assert traceparent is None
        assert tracing.current() is None


@pytest.mark.parametrize(
    "bad",
    [
        None,
        5,
        b"00",
        "",
        TRACE.upper(),
        f"{TRACE}\n",
        f"{TRACE}-00",
        f"01{TRACE[2:]}",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
    ],
)
def test_what_is_no_traceparent_is_none(bad: object) -> None:
    assert tracing.valid(bad) is None
    assert tracing.valid(TRACE) == TRACE


def test_each_order_of_a_job_has_the_traceparent_of_the_job_or_its_own() -> None:
    assert Payload({}).traceparents(2) == [None, None]
    assert Payload({}, TRACE).traceparents(2) == [TRACE, TRACE]
    assert Payload({}, [TRACE, None]).traceparents(2) == [TRACE, None]
    assert Payload({}, [OTHER, "bad"]).traceparents(2) == [OTHER, None]
    assert Payload({}, [TRACE]).traceparents(2) == [None, None], "a list of another length is none"


def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(LockstepError, match=r"pip install 'lockstep-orders\[tracing\]'"):
        tracing.set_up("lockstep-test")


def test_who_does_not_trace_imports_nothing_of_it(run_python: RunPython) -> None:
    done = run_python(
        "import sys, worker.client, worker.main; print([one for one in sys.modules if 'opentelemetry' in one])",
        LOCKSTEP_MYSQL_URL="mysql://u:p@localhost/orders",
        LOCKSTEP_REDIS_URL="redis://localhost",
    )
    assert done.stdout.strip() == "[]", done.stderr
