"""Which database errors are worth another attempt, and how long to wait before it."""

import asyncio
import re
from collections import Counter
from enum import Enum
from typing import Final

import structlog
from pymysql import err
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_exponential,
    wait_random_exponential,
)

logger = structlog.get_logger()

DUPLICATE_KEY: Final = 1062

# The server has rolled back the whole transaction.
DEADLOCK: Final = 1213
RECORD_CHANGED: Final = 1020  # innodb_snapshot_isolation, the default of MariaDB since 11.6.2
OTHER_MEMBER: Final = (
    3101  # Group Replication: another member was first, as is found at COMMIT (Galera says 1213)
)
# The server has undone the statement only, and the transaction still holds its locks.
LOCK_WAIT_TIMEOUT: Final = 1205
LOCK_NOWAIT: Final = 3572
USER_LOCK_DEADLOCK: Final = 3058
TABLE_CHANGED: Final = 1412  # a migration, beside a transaction whose snapshot is older

CONFLICTS: Final = frozenset(
    {
        DEADLOCK, RECORD_CHANGED, OTHER_MEMBER, LOCK_WAIT_TIMEOUT, LOCK_NOWAIT, USER_LOCK_DEADLOCK, TABLE_CHANGED
    }
)  # fmt: skip

OUTAGES: Final = frozenset(
    {
        3,  # disk full: the file that a large transaction is written to before it goes to the binary log
        5,  # out of memory
        1015,  # InnoDB was started read-only (MySQL)
        1021,  # disk full
        1026,  # disk full: the binary log
        1036,  # InnoDB was started read-only (MariaDB), or for a recovery by hand
        1037, 1041,  # out of memory
        1040,  # too many connections
        1047,  # Galera: node not ready
        1053,  # server shutdown in progress
        1077,  # normal shutdown
        1114,  # table (space) full
        1129,  # host blocked after connection errors
        1158, 1159, 1160, 1161,  # network errors that the server saw
        1203,  # too many connections of this user
        1206,  # no memory for more locks
        1226,  # user has exceeded a resource limit
        1290,  # read-only server: failover
        1317,  # statement killed
        1637,  # too many transactions
        1792,  # read-only transaction: failover
        1836,  # read-only mode: failover
        1927,  # connection was killed
        1969,  # the server's own limit of time (MariaDB)
        2002, 2003, 2005,  # cannot connect
        2006,  # server has gone away
        2013,  # connection lost during a query
        2055,  # connection lost, with a system error
        3024,  # the server's own limit of time (MySQL)
        3100,  # Group Replication: the group cannot take the COMMIT now, as when it has no majority
        3796, 3797, 3798, 3799,  # Group Replication: this member is behind the others, or leaves them
        4031,  # disconnected for inactivity
    }
)  # fmt: skip

# They hand on an error of somebody else's, with its number.
FROM_ENGINE: Final = 1030
DURING_COMMIT: Final = 1180
FIRST_OF_ENGINES: Final = 120  # below are the operating system's: a full disk (28), a broken one (5)
ENGINE_DEADLOCK: Final = 149  # what Group Replication says as well where another member was first

# Full jitter: two transactions that collided must not collide again in step.
_wait_after_conflict: Final = wait_random_exponential(multiplier=0.01, max=0.5)
_wait_after_outage: Final = wait_exponential(multiplier=0.1, max=1.0)


class Kind(Enum):
    """What an error means for the transaction that met it."""

    CONFLICT = "conflict"  # somebody else was first; the same again may well succeed
    OUTAGE = "outage"  # no fault of the transaction; the connection is thrown away
    DUPLICATE = "duplicate"  # a key that this transaction claims is known already
    BUG = "bug"


MOST_ATTEMPTS: Final = {Kind.CONFLICT: 20, Kind.OUTAGE: 3}


class DatabaseError(Exception):
    """A statement, or getting a connection, failed; the driver's error is its cause."""

    def __init__(self, statement: str, error: BaseException, kind: Kind | None = None) -> None:
        self.statement = statement
        self.code = _code_of(error)
        self.kind = kind or _kind_of(error, self.code)
        reason = error.args[1] if self.code and len(error.args) > 1 else str(error) or type(error).__name__
        super().__init__(f"{statement}: {self.code} {reason}" if self.code else f"{statement}: {reason}")

    @property
    def is_transient(self) -> bool:
        """No fault of what was to be done: who cannot connect, be it for a wrong password, can do nothing."""
        return self.kind in {Kind.CONFLICT, Kind.OUTAGE} or self.statement == "connect"


def _code_of(error: BaseException) -> int | None:
    code = error.args[0] if isinstance(error, err.MySQLError) and error.args else None
    return code or None if isinstance(code, int) else None


def _kind_of(error: BaseException, code: int | None) -> Kind:
    if code in CONFLICTS:
        return Kind.CONFLICT
    if code == DUPLICATE_KEY:
        return Kind.DUPLICATE
    if code in {FROM_ENGINE, DURING_COMMIT}:
        return _handed_on(code, error)
    # InterfaceError: the driver has closed the connection.
    lost = code in OUTAGES or isinstance(error, (OSError, asyncio.IncompleteReadError, err.InterfaceError))
    return Kind.OUTAGE if lost else Kind.BUG


def _handed_on(code: int, error: BaseException) -> Kind:
    """Storage engines refuse a statement for what it says, too. A COMMIT says nothing."""
    number = re.search(r"\d+", str(error.args[1:]))
    inner = int(number[0]) if number else FIRST_OF_ENGINES
    if code == FROM_ENGINE:
        return Kind.OUTAGE if inner < FIRST_OF_ENGINES else Kind.BUG
    return Kind.CONFLICT if inner == ENGINE_DEADLOCK else Kind.OUTAGE


def attempts(job: str, deadline_seconds: float) -> AsyncRetrying:
    """Attempts of one call of `job`: made anew for each, so that no count is shared.

    Conflicts are tried again soon and often, outages slowly and seldom; the last error is raised.
    """
    stop_at_deadline = stop_after_delay(deadline_seconds)
    failures: Counter[Kind] = Counter()

    def stop(state: RetryCallState) -> bool:
        kind = _error(state).kind
        failures[kind] += 1
        return failures[kind] >= MOST_ATTEMPTS[kind] or stop_at_deadline(state)

    def wait(state: RetryCallState) -> float:
        return (_wait_after_conflict if _error(state).kind is Kind.CONFLICT else _wait_after_outage)(state)

    def log(state: RetryCallState) -> None:
        error = _error(state)
        logger.info(
            error.kind.value,
            job=job,
            attempt=state.attempt_number,
            statement=error.statement,
            error=str(error),
            wait_seconds=round(state.upcoming_sleep, 4),
        )

    return AsyncRetrying(
        retry=retry_if_exception(_is_transient), stop=stop, wait=wait, before_sleep=log, reraise=True
    )


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, DatabaseError) and error.kind in {Kind.CONFLICT, Kind.OUTAGE}


def _error(state: RetryCallState) -> DatabaseError:
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, DatabaseError), "only these are tried again"
    return error
