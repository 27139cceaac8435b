"""The traps of trying again."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pymysql import err
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_fixed,
)

from jobs.transaction import Statement, Transaction
from tests.asking import Session
from tests.lab.traps.bare import LOCKED, conflict, has_code, open_connection, query
from tests.shop import open_shop
from worker.database.retry import MOST_ATTEMPTS, DatabaseError, Kind, attempts
from worker.database.transactions import Database
from worker.settings import Settings

LOCK_NOW = "SELECT available FROM stock WHERE product_id = 1 FOR UPDATE NOWAIT"
TRANSACTION_SECONDS = 0.005  # two that start again within this time meet again
RUNS = 1000
Wait = Callable[[RetryCallState], float]


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    real_sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: real_sleep(0))


async def test_nested_retries_wrong_they_multiply(
    settings: Settings, database: Database, session: Session
) -> None:
    """P57. 3 attempts around 5 attempts are 15 locking reads on a row that is taken already."""
    await open_shop(database, {1: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE")
    sent = 0
    locked = retry_if_exception(has_code(*LOCKED))
    async with open_connection(settings.mysql_url) as connection:

        @retry(retry=locked, stop=stop_after_attempt(5), reraise=True)
        async def lock() -> None:
            nonlocal sent
            sent += 1
            await query(connection, LOCK_NOW)

        @retry(retry=locked, stop=stop_after_attempt(3), reraise=True)
        async def order() -> None:
            await query(connection, "BEGIN")
            await lock()
            await connection.commit()

        with pytest.raises(err.MySQLError):
            await order()
    assert sent == 3 * 5


async def test_nested_retries_right_the_outermost_alone_tries_again(
    database: Database, session: Session, no_waits: None
) -> None:
    """P57. A transaction inside a transaction is refused at once, so there is one count and one limit."""
    await open_shop(database, {1: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE")
    sent: Counter[str] = Counter()

    async def lock(transaction: Transaction) -> None:
        sent["lock"] += 1
        await transaction.execute(Statement("lock", LOCK_NOW), {})

    async def nested(_: Transaction) -> None:
        sent["nested"] += 1
        await database.transact(lock, job="inner")

    with pytest.raises(RuntimeError, match="inner began a transaction inside that of outer"):
        await database.transact(nested, job="outer")
    assert sent == {"nested": 1}
    with pytest.raises(DatabaseError) as raised:
        await database.transact(lock, job="outer")
    assert raised.value.code in LOCKED
    assert sent == {"nested": 1, "lock": MOST_ATTEMPTS[Kind.CONFLICT]}


def meetings(wait: Wait, seed: int, most: int) -> int:
    """How often two losers of one deadlock meet again, each waiting for itself, no time passing."""
    random.seed(seed)
    retrying = AsyncRetrying()
    for attempt in range(1, most):
        state = RetryCallState(retrying, None, (), {})
        state.attempt_number = attempt
        state.set_exception((DatabaseError, conflict(), None))
        if abs(wait(state) - wait(state)) >= TRANSACTION_SECONDS:
            return attempt - 1
    return most - 1


@pytest.fixture
def random_state() -> Any:
    """Put the state of `random` back."""
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.mark.parametrize(
    "wait", [wait_fixed(0.05), wait_exponential(multiplier=0.01, max=0.5)], ids=["fixed", "exponential"]
)
def test_no_jitter_wrong_two_losers_meet_every_time(wait: Wait, random_state: None) -> None:
    """P58. Both wait for the same time, so they collide until both have given up."""
    most = MOST_ATTEMPTS[Kind.CONFLICT]
    assert {meetings(wait, seed, most) for seed in range(RUNS)} == {most - 1}


def test_no_jitter_right_two_losers_part_soon(random_state: None) -> None:
    """P58. Full jitter that grows: in every run they part long before the last attempt."""
    wait = attempts("test", 4.0).wait
    assert not isinstance(wait, float)
    met = [meetings(wait, seed, MOST_ATTEMPTS[Kind.CONFLICT]) for seed in range(RUNS)]
    assert max(met) < MOST_ATTEMPTS[Kind.CONFLICT] // 2
    assert sum(met) / RUNS < 2
