"""Explain the latest deadlock: who held what, who waited, which pitfall it is, and what prevents it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from jobs.transaction import Reader, Row, Statement, load_statements
from worker.database.deadlock_pitfalls import Pitfall, recognize
from worker.database.deadlock_status import Deadlock, Kind, Lock, parse
from worker.database.retry import DatabaseError
from worker.errors import LockstepError

NEEDS_PROCESS: Final = 1227
# A table or a privilege that this server or this user lacks: what it would tell is left out.
_WITHHELD: Final = frozenset({1044, 1109, 1142, 1146, NEEDS_PROCESS})
_FOREIGN_KEY: Final = "P37"  # the one shape that a list of the foreign keys makes sure of
_INTENTIONS: Final = frozenset({"IS", "IX"})  # of tables: every transaction that locks rows has them
_SQL: Final = load_statements("deadlocks.sql")

NONE_YET: Final = "This server has seen no deadlock since it started."
UNKNOWN: Final = "a shape that the catalogue does not hold"
UNKNOWN_CURE: Final = "Lock in one global order; the run that was rolled back can be repeated."


@dataclass(frozen=True, slots=True)
class Explanation:
    """A deadlock, the pitfall that it is (None: not in the catalogue), and what its survivors still lock."""

    deadlock: Deadlock
    pitfall: Pitfall | None
    still_held: tuple[Lock, ...] = ()

    @property
    def title(self) -> str:
        """The pitfall's id and name."""
        if not self.deadlock.readable:
            return "a deadlock that cannot be read"
        return f"{self.pitfall.id}, {self.pitfall.name}" if self.pitfall else UNKNOWN

    @property
    def cure(self) -> str:
        """What prevents it, in one sentence."""
        return self.pitfall.cure if self.pitfall else UNKNOWN_CURE

    def involves(self, session_id: int) -> bool:
        """Whether one of the transactions was that session's."""
        return session_id in {one.session_id for one in self.deadlock.transactions}


async def read_latest(reader: Reader) -> Deadlock | None:
    """The latest deadlock of the whole server. Raises LockstepError where this user may not see it."""
    try:
        ((row),) = await reader.fetch(_SQL["innodb_status"], {})
    except DatabaseError as error:
        if error.code == NEEDS_PROCESS:
            raise LockstepError(
                "the user of LOCKSTEP_MYSQL_URL may not read the InnoDB status: as an administrator run"
                " GRANT PROCESS ON *.* TO that user."
            ) from error
        raise
    return parse(str(row["Status"]))


async def explain_latest(reader: Reader) -> Explanation | None:
    """The same, explained; None if there has been no deadlock."""
    deadlock = await read_latest(reader)
    if deadlock is None:
        return None
    explanation = explain(deadlock)
    if explanation.pitfall and explanation.pitfall.id == _FOREIGN_KEY:
        database = deadlock.transactions[0].held[0].table.split(".")[0]
        rows = await _if_told(reader, _SQL["foreign_key_parents"], {"database": database})
        parents = frozenset(str(row["table_name"]) for row in rows)
        return explain(deadlock, parents or None)
    return explanation


def explain(deadlock: Deadlock, parents: frozenset[str] | None = None) -> Explanation:
    """Name the pitfall. `parents`: the tables that foreign keys point at, where the caller knows them."""
    return Explanation(deadlock, recognize(deadlock, parents) if deadlock.readable else None)


async def add_survivors(reader: Reader, explanation: Explanation) -> Explanation:
    """With what the transactions that were not rolled back lock at this moment, where the server tells it."""
    transactions = explanation.deadlock.transactions
    ids = [int(one.transaction_id) for one in transactions if one.transaction_id.isdecimal()]
    rows = [
        *await _if_told(reader, _SQL["locks_on_mysql"], {"transaction_ids": ids}),
        *await _if_told(reader, _SQL["locks_on_mariadb"], {"transaction_ids": ids}),
    ]
    locks = [_lock(row) for row in rows if row["lock_mode"] not in _INTENTIONS]
    return replace(explanation, still_held=tuple(lock for lock in locks if not lock.waiting))


async def _if_told(reader: Reader, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
    try:
        return await reader.fetch(statement, parameters)
    except DatabaseError as error:
        if error.code in _WITHHELD:
            return []
        raise


def _lock(row: Row) -> Lock:
    """A row of the server's lock table: its mode is like `X,GAP,INSERT_INTENTION`."""
    mode, _, flags = str(row["lock_mode"]).partition(",")
    kind = Kind.NEXT_KEY
    if row["lock_type"] == "TABLE":
        kind = Kind.AUTO_INCREMENT if mode == "AUTO_INC" else Kind.TABLE
    elif flags:
        kind = {"REC_NOT_GAP": Kind.RECORD, "GAP": Kind.GAP}.get(flags, Kind.INSERT_INTENTION)
    return Lock(
        owner=str(row["transaction_id"]),
        table=str(row["table_name"]).replace("`", ""),
        index=row["index_name"],
        mode=mode,
        kind=kind,
        waiting=row["lock_status"] != "GRANTED",
        keys=(f"key ({row['lock_data']})",) if row["lock_data"] else (),
    )
