import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from pymysql import err
from structlog.testing import capture_logs

from tests.offenders import assert_none
from worker.database.retry import MOST_ATTEMPTS, DatabaseError, Kind, attempts

CONFLICTS = [1213, 1020, 1205, 3572, 3058, 1412, 3101]
OUTAGES = [
    2006, 2013, 2055, 1927, 1053, 4031, 1040, 1203, 1226, 1290, 1792, 1836, 1015, 1036, 1047, 3100, 3796, 3797, 3798, 3799,
    1114, 1021, 3, 1026, 5, 1037, 1041, 1206, 1637, 1317, 1969, 3024,
]  # fmt: skip
DEADLOCK = err.OperationalError(1213, "Deadlock found")
LOST_CONNECTION = err.OperationalError(2013, "Lost connection")
KNOWN_KEY = err.IntegrityError(1062, "Duplicate entry")
BAD_SYNTAX = err.ProgrammingError(1064, "You have an error")


@pytest.mark.parametrize("code", CONFLICTS)
def test_a_conflict_is_known_by_its_code(code: int) -> None:
    error = DatabaseError("lock_stock", err.OperationalError(code, "reason"))
    assert (error.kind, error.code) == (Kind.CONFLICT, code)


def test_an_outage_is_known_by_its_code() -> None:
    errors = {code: DatabaseError("lock_stock", err.InternalError(code, "reason")) for code in OUTAGES}
    assert_none(
        f"{code} is known as {error.kind}, {error.code}"
        for code, error in errors.items()
        if (error.kind, error.code) != (Kind.OUTAGE, code)
    )


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (1030, 'Got error 28 "No space left on device" from storage engine InnoDB', Kind.OUTAGE),
        (1030, "Got error 28 - 'No space left on device' from storage engine", Kind.OUTAGE),
        (1030, "Got error 5 - 'Input/output error' from storage engine", Kind.OUTAGE),
        (1030, "Got error 139 - 'Too big row' from storage engine", Kind.BUG),
        (1030, "nothing that anybody expects", Kind.BUG),
        (1180, "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT", Kind.CONFLICT),
        (1180, 'Got error 28 "No space left on device" during COMMIT', Kind.OUTAGE),
        (1180, "nothing that anybody expects", Kind.OUTAGE),
    ],
)
def test_an_error_that_hands_on_another_is_known_by_the_number_of_that(
    code: int, message: str, kind: Kind
) -> None:
    assert DatabaseError("commit", err.OperationalError(code, message)).kind is kind


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route"),
        ConnectionResetError(104, "reset"),
        TimeoutError(),
        asyncio.IncompleteReadError(b"", 4),
        err.InterfaceError(0, ""),
        err.InterfaceError("(0, 'Not connected')"),
    ],
    ids=repr,
)
def test_an_error_of_the_connection_is_an_outage(error: Exception) -> None:
    assert DatabaseError("lock_stock", error).kind is Kind.OUTAGE


def test_a_key_that_is_known_already_is_a_duplicate() -> None:
    assert DatabaseError("insert_orders", KNOWN_KEY).kind is Kind.DUPLICATE


@pytest.mark.parametrize(
    "error",
    [
        BAD_SYNTAX,
        err.OperationalError(3819, "Check constraint is violated"),
        err.DataError(1264, "Out of range"),
        err.MySQLError(),
        err.ProgrammingError("no code"),
        ValueError(1213, "not of the server"),
        RuntimeError("anything"),
    ],
    ids=repr,
)
def test_everything_else_is_a_bug(error: Exception) -> None:
    assert DatabaseError("lock_stock", error).kind is Kind.BUG


def test_whoever_raises_it_may_know_better() -> None:
    assert DatabaseError("connect", BAD_SYNTAX, Kind.OUTAGE).kind is Kind.OUTAGE


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DEADLOCK, "lock_stock: 1213 Deadlock found"),
        (TimeoutError(), "lock_stock: TimeoutError"),
        (ValueError("poison"), "lock_stock: poison"),
        (err.InterfaceError(0, "closed"), "lock_stock: (0, 'closed')"),
    ],
    ids=repr,
)
def test_an_error_says_which_statement_and_why(error: Exception, text: str) -> None:
    assert str(DatabaseError("lock_stock", error)) == text


class Clock:
    """Time that passes only while somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Work:
    """Meets these errors, one an attempt and the last one for ever, or is done where it is None."""

    def __init__(self, clock: Clock, errors: Sequence[BaseException | None], *, seconds: float = 0) -> None:
        self.count = 0
        self._clock = clock
        self._errors = errors
        self._seconds = seconds

    async def run(self, *, deadline_seconds: float = 3600) -> str:
        async for attempt in attempts("place_order", deadline_seconds):
            with attempt:
                return self._attempt()
        raise AssertionError("tenacity raises the last error")

    def _attempt(self) -> str:
        error = self._errors[min(self.count, len(self._errors) - 1)]
        self.count += 1
        self._clock.now += self._seconds
        if error is not None:
            raise error
        return f"attempt {self.count}"


def conflict() -> DatabaseError:
    return DatabaseError("lock_stock", DEADLOCK)


def outage() -> DatabaseError:
    return DatabaseError("lock_stock", LOST_CONNECTION)


async def test_work_that_succeeds_is_done_once(clock: Clock) -> None:
    assert await Work(clock, [None]).run() == "attempt 1"
    assert clock.waits == []


async def test_work_is_tried_again_until_it_succeeds(clock: Clock) -> None:
    assert await Work(clock, [conflict(), outage(), conflict(), None]).run() == "attempt 4"
    assert len(clock.waits) == 3


async def test_a_conflict_is_given_up_after_20_attempts(clock: Clock) -> None:
    last = DatabaseError("lock_stock", err.OperationalError(1213, "the last one"))
    work = Work(clock, [*(conflict() for _ in range(19)), last])
    with pytest.raises(DatabaseError) as raised:
        await work.run()
    assert raised.value is last
    assert work.count == 20


async def test_an_outage_is_given_up_after_3_attempts(clock: Clock) -> None:
    last = outage()
    work = Work(clock, [outage(), outage(), last])
    with pytest.raises(DatabaseError) as raised:
        await work.run()
    assert raised.value is last
    assert work.count == 3


async def test_an_outage_after_two_conflicts_is_tried_again(clock: Clock) -> None:
    assert await Work(clock, [conflict(), conflict(), outage(), None]).run() == "attempt 4"
    assert len(clock.waits) == 3


async def test_a_conflict_after_two_outages_is_tried_again(clock: Clock) -> None:
    assert await Work(clock, [outage(), outage(), conflict(), None]).run() == "attempt 4"


async def test_conflicts_and_outages_are_counted_apart(clock: Clock) -> None:
    errors = [*(conflict() for _ in range(19)), outage(), outage()]
    assert await Work(clock, [*errors, None]).run() == "attempt 22"
    assert await Work(clock, [*reversed(errors), None]).run() == "attempt 22"


async def test_the_third_outage_is_the_last_attempt_whatever_conflicts_came_between(clock: Clock) -> None:
    last = outage()
    work = Work(clock, [outage(), conflict(), outage(), conflict(), conflict(), last])
    with pytest.raises(DatabaseError) as raised:
        await work.run()
    assert raised.value is last
    assert work.count == 6


async def test_the_twentieth_conflict_is_the_last_attempt_whatever_outages_came_between(clock: Clock) -> None:
    last = conflict()
    work = Work(clock, [outage(), *(conflict() for _ in range(19)), outage(), last])
    with pytest.raises(DatabaseError) as raised:
        await work.run()
    assert raised.value is last
    assert work.count == 22


def test_every_kind_that_is_tried_again_has_a_most_of_its_own() -> None:
    assert MOST_ATTEMPTS == {Kind.CONFLICT: 20, Kind.OUTAGE: 3}


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("insert_orders", KNOWN_KEY),
        DatabaseError("lock_stock", BAD_SYNTAX),
        ValueError("poison"),
    ],
    ids=["duplicate", "bug", "any exception"],
)
async def test_a_duplicate_and_a_bug_are_raised_at_once(clock: Clock, error: Exception) -> None:
    work = Work(clock, [error])
    with pytest.raises(type(error)) as raised:
        await work.run()
    assert raised.value is error
    assert (work.count, clock.waits) == (1, [])


async def test_a_bug_after_a_conflict_is_raised_at_once(clock: Clock) -> None:
    work = Work(clock, [conflict(), ValueError("poison")])
    with pytest.raises(ValueError, match="poison"):
        await work.run()
    assert work.count == 2


async def test_cancellation_passes_untouched(clock: Clock) -> None:
    cancelled = asyncio.CancelledError("stop")
    work = Work(clock, [cancelled])
    with pytest.raises(asyncio.CancelledError) as raised:
        await work.run()
    assert raised.value is cancelled
    assert (work.count, clock.waits) == (1, [])


async def test_no_attempt_begins_after_the_deadline(clock: Clock) -> None:
    work = Work(clock, [conflict()], seconds=1)
    with pytest.raises(DatabaseError, match="Deadlock found"):
        await work.run(deadline_seconds=0.5)
    assert (work.count, clock.waits) == (1, [])


async def test_attempts_go_on_until_the_deadline(clock: Clock) -> None:
    work = Work(clock, [conflict()], seconds=10)
    with pytest.raises(DatabaseError, match="Deadlock found"):
        await work.run(deadline_seconds=45)
    assert work.count == 5


async def test_waits_after_conflicts_are_short_and_random(clock: Clock) -> None:
    with pytest.raises(DatabaseError, match="Deadlock found"):
        await Work(clock, [conflict()]).run()
    assert all(0 <= wait <= min(0.5, 0.01 * 2**n) for n, wait in enumerate(clock.waits))
    assert len(set(clock.waits)) == 19


async def test_waits_after_outages_grow(clock: Clock) -> None:
    with pytest.raises(DatabaseError, match="Lost connection"):
        await Work(clock, [outage()]).run()
    assert clock.waits == [0.1, 0.2]


async def test_every_call_has_attempts_of_its_own(clock: Clock) -> None:
    for _ in range(2):
        work = Work(clock, [outage()])
        with pytest.raises(DatabaseError, match="Lost connection"):
            await work.run()
        assert work.count == 3


async def test_every_attempt_that_is_made_again_leaves_one_line_in_the_log(clock: Clock) -> None:
    with capture_logs() as lines:
        await Work(clock, [conflict(), outage(), None]).run()
    assert lines == [
        {
            "event": "conflict",
            "log_level": "info",
            "job": "place_order",
            "attempt": 1,
            "statement": "lock_stock",
            "error": "lock_stock: 1213 Deadlock found",
            "wait_seconds": round(clock.waits[0], 4),
        },
        {
            "event": "outage",
            "log_level": "info",
            "job": "place_order",
            "attempt": 2,
            "statement": "lock_stock",
            "error": "lock_stock: 2013 Lost connection",
            "wait_seconds": round(clock.waits[1], 4),
        },
    ]


async def test_what_is_not_tried_again_leaves_no_line(clock: Clock) -> None:
    with capture_logs() as lines, pytest.raises(DatabaseError, match="Duplicate entry"):
        await Work(clock, [DatabaseError("insert_orders", KNOWN_KEY)]).run()
    assert lines == []
