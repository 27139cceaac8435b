"""Deadlocks made on the server, each of another shape, and the pitfall that its status is read as."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import structlog
from pymysql import err

from jobs.transaction import load_statements
from tests.asking import (
    ASK_SECONDS,
    PATIENCE_SECONDS,
    Session,
    open_session,
    owner_url,
    until,
    waiting_sessions,
)
from tests.integration.deadlock_cases import CASES, Case
from tests.shop import open_shop
from worker.database.deadlock_log import DeadlockLog
from worker.database.deadlock_picture import draw
from worker.database.deadlock_words import as_text, one_line, to_json
from worker.database.deadlocks import Explanation, add_survivors, explain_latest, read_latest
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.settings import Settings

DEADLOCK: Final = 1213
TRIES: Final = 10  # the status shows the latest deadlock of the whole server, which others may use, too
LOCK_STOCK: Final = load_statements("orders/locks.sql")["lock_stock"].text
Sessions = dict[int, Session]


@pytest.fixture
async def sessions(settings: Settings, session: Session, other_session: Session) -> AsyncIterator[Sessions]:
    """Sessions 1 to 3 of a case, and 0, which asks; the tables of a case are dropped in the end."""
    owner = owner_url(settings)
    async with open_session(owner) as third, open_session(owner) as asking:
        yield {0: asking, 1: session, 2: other_session, 3: third}
        for number in (1, 2, 3):
            await {1: session, 2: other_session, 3: third}[number].run("ROLLBACK")
        await drop_tables(asking)


async def drop_tables(session: Session) -> None:
    await session.run("DROP TABLE IF EXISTS child, parent, shelf, parcel")


class Schedule:
    """Runs the steps of a case; it asks the server whether a statement waits."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._tasks: dict[int, asyncio.Task[Any]] = {}

    async def run(self, case: Case) -> None:
        """To the deadlock."""
        await drop_tables(self._sessions[0])
        for statement in case.tables:
            await self._sessions[0].run(statement)
        for number in sorted({number for number, _ in case.steps}):
            for statement in (*case.before, "BEGIN"):
                await self._sessions[number].run(statement)
        *opening, (last, closing) = case.steps
        for number, statement in opening:
            await self._step(number, statement)
        self._tasks[last] = asyncio.create_task(self._sessions[last].run(closing))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._victims():
                running = [task for task in self._tasks.values() if not task.done()]
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    async def _step(self, number: int, statement: str) -> None:
        waiting = sum(not task.done() for task in self._tasks.values())
        task = self._tasks[number] = asyncio.create_task(self._sessions[number].run(statement))

        async def over_or_blocked() -> bool:
            await asyncio.wait([task], timeout=ASK_SECONDS)
            return task.done() or len(await waiting_sessions(self._sessions[0])) > waiting

        await until(over_or_blocked, f"{statement} to end or to wait")

    def _victims(self) -> list[BaseException]:
        failed = [task.exception() for task in self._tasks.values() if task.done()]
        return [
            error for error in failed if isinstance(error, err.OperationalError) and error.args[0] == DEADLOCK
        ]

    async def end(self) -> None:
        """Roll each back as soon as its statement is over, which lets the next one go on."""

        async def roll_back(number: int) -> None:
            if number in self._tasks:
                await asyncio.wait([self._tasks[number]])
                self._tasks[number].exception()
            await self._sessions[number].run("ROLLBACK")

        await asyncio.gather(*(roll_back(number) for number in (1, 2, 3)))
        self._tasks.clear()


async def make(case: Case, sessions: Sessions, database: Database) -> Explanation:
    """The explanation of this very deadlock: another run of the server's may deadlock at the same moment."""
    ours = {int(await session.value("SELECT CONNECTION_ID()")) for session in sessions.values()}
    for _ in range(TRIES):
        schedule = Schedule(sessions)
        try:
            await schedule.run(case)
            explanation = await explain_latest(database)
            if explanation:
                explanation = await add_survivors(database, explanation)
        finally:
            await schedule.end()
        if explanation and {one.session_id for one in explanation.deadlock.transactions} <= ours:
            return explanation
    raise AssertionError(f"the status shows deadlocks of others: {explanation and as_text(explanation)}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.pitfall} {case.name}")
async def test_a_live_deadlock_is_named_by_its_pitfall(
    case: Case, sessions: Sessions, database: Database
) -> None:
    explanation = await make(case, sessions, database)
    assert explanation.pitfall, as_text(explanation)
    assert explanation.pitfall.id == (case.named or case.pitfall), as_text(explanation)
    assert case.pitfall in {explanation.pitfall.id, *explanation.pitfall.alike}
    assert [one.wanted is not None and bool(one.held) for one in explanation.deadlock.transactions]
    last_words = {number: statement for number, statement in case.steps if statement != "ROLLBACK"}
    assert {one.statement for one in explanation.deadlock.transactions} <= {*last_words.values()}
    assert explanation.deadlock.victim
    assert draw(explanation).count("victim: rolled back") == 1


async def test_the_keys_are_those_of_the_rows(sessions: Sessions, database: Database) -> None:
    by_name = {case.name: case for case in CASES}
    plain = await make(by_name["opposite order"], sessions, database)
    uuids = await make(
        by_name["opposite order under read committed, keys that are UUIDs"], sessions, database
    )
    wanted = [
        {one.wanted.keys for one in explanation.deadlock.transactions if one.wanted}
        for explanation in (plain, uuids)
    ]
    assert wanted[0] == {("key (1)",), ("key (2)",)}
    assert wanted[1] == {
        ("key (a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1)",),
        ("key (b2b2b2b2-b2b2-b2b2-b2b2-b2b2b2b2b2b2)",),
    }


async def test_a_deadlock_of_production_statements_names_them(sessions: Sessions, database: Database) -> None:
    """With arrays in opposite order, which no job sends; long enough that the server cuts the text."""
    await open_shop(database, dict.fromkeys(range(1, 1500), 5))
    hold = "SELECT * FROM stock WHERE product_id = 700 FOR UPDATE"
    locking = [
        LOCK_STOCK % {"product_ids": f"'{json.dumps(ids)}'"}
        for ids in (list(range(1, 1500)), list(range(1499, 0, -1)))
    ]
    case = Case("P21", "lock_stock", [(3, hold), (1, locking[0]), (2, locking[1]), (3, "ROLLBACK")])
    explanation = await make(case, sessions, database)
    assert explanation.pitfall
    assert explanation.pitfall.id == "P21"
    assert as_text(explanation).count("statement  lock_stock") == 2
    assert one_line(explanation).count("[lock_stock]") == 2
    assert {one["statement_name"] for one in to_json(explanation)["transactions"]} == {"lock_stock"}


async def test_what_the_survivor_still_locks_is_told_while_somebody_waits_for_it(
    sessions: Sessions, database: Database
) -> None:
    """MySQL lists all of it, MariaDB only what is waited for: here the circle of three leaves a waiter."""
    (case,) = [case for case in CASES if case.name == "circle of three"]
    explanation = await make(case, sessions, database)
    assert explanation.still_held
    assert {lock.table.split(".")[1] for lock in explanation.still_held} == {"shelf"}
    assert "Still locked at this moment:" in as_text(explanation)
    json.dumps(to_json(explanation))


@pytest.fixture
async def lowly(settings: Settings, session: Session) -> AsyncIterator[Settings]:
    """A user that may use the tables but not read the status."""
    name = f"lowly_{session.database[-8:]}"
    await session.run(f"CREATE USER {name}@'%' IDENTIFIED BY 'Lowly-1'")
    await session.run(f"GRANT SELECT, INSERT, UPDATE ON {session.database}.* TO {name}@'%'")
    url = urlsplit(settings.mysql_url)
    netloc = f"{name}:Lowly-1@{url.hostname}:{url.port}"
    yield settings.model_copy(update={"mysql_url": url._replace(netloc=netloc).geturl()})
    await session.run(f"DROP USER {name}@'%'")


async def test_without_the_process_privilege_one_sentence_says_which_grant(lowly: Settings) -> None:
    async with Database(lowly) as database:
        with pytest.raises(LockstepError, match=r"GRANT PROCESS ON \*\.\* TO") as raised:
            await read_latest(database)
    assert str(raised.value).count(".") == 2, "one sentence, and *.*"


async def test_a_victim_is_explained_in_the_log_beside_the_work(
    settings: Settings, sessions: Sessions, database: Database
) -> None:
    log = DeadlockLog(lambda: Database(settings))
    explanation = await make(CASES[0], sessions, database)
    (victim,) = [
        one.session_id
        for one in explanation.deadlock.transactions
        if one.number == explanation.deadlock.victim
    ]
    assert victim
    with structlog.testing.capture_logs() as logs:
        log.note(victim, "take")

        async def said() -> bool:
            return bool(logs)

        await until(said, "a log line")
    await log.close()
    assert logs == [
        {
            "event": "deadlock",
            "job": "take",
            "explanation": one_line(explanation),
            "log_level": "info",
        }
    ]


async def test_a_user_who_may_not_read_the_status_is_told_once(lowly: Settings) -> None:
    opened = 0

    def open_database() -> Database:
        nonlocal opened
        opened += 1
        return Database(lowly)

    log = DeadlockLog(open_database)
    with structlog.testing.capture_logs() as logs:
        log.note(1, "take")

        async def said() -> bool:
            return bool(logs)

        await until(said, "a log line")
        log.note(1, "take")
        await log.close()
    assert opened == 1
    assert [line["event"] for line in logs] == ["deadlocks are not explained"]
