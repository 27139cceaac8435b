"""Every order in which the statements of real jobs can follow each other.

Jobs run through the production `Database.transact`; what they are given is a Transaction that asks for leave before each
statement, and before the commit. One leave is given at a time, and only when every other job is done, asks for leave
itself, or waits for a lock by the server's own word. So an interleaving is a list of choices, and all of them are found
by taking every choice at every point.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import orjson

from jobs.transaction import Parameters, Row, Statement, Transaction
from tests.asking import PATIENCE_SECONDS
from tests.lab.server import Server
from worker.database.transactions import Database

ASK_SECONDS: Final = 0.005
CONFIRMATIONS: Final = 3
_SESSION_ID: Final = Statement("session_id", "SELECT CONNECTION_ID() AS id")

Result = TypeVar("Result")


class Player:
    """One job: it asks for leave, and goes on when it gets it."""

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed
        self.leave: asyncio.Future[None] | None = None
        self.session = 0

    async def ask(self) -> None:
        """Wait for leave."""
        self.leave = asyncio.get_running_loop().create_future()
        self._changed.set()
        await self.leave

    def go(self) -> None:
        """Give leave."""
        assert self.leave
        leave, self.leave = self.leave, None
        leave.set_result(None)


class Asking:
    """A Transaction that asks for leave before each statement."""

    def __init__(self, transaction: Transaction, player: Player) -> None:
        self._transaction = transaction
        self._player = player

    async def execute(self, statement: Statement, parameters: Parameters) -> int:
        await self._player.ask()
        return await self._transaction.execute(statement, parameters)

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        await self._player.ask()
        return await self._transaction.fetch(statement, parameters)


class RowByRow(Asking):
    """Locks stock with a statement a row, so that others can come between two rows."""

    descending = False

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        if statement.name != "lock_stock":
            return await super().fetch(statement, parameters)
        ids = sorted(parameters["product_ids"], reverse=self.descending)
        locked = [
            stock
            for each in ids
            for row in await super(RowByRow, self).fetch(statement, {"product_ids": [each]})
            for stock in orjson.loads(row["locked"] or "[]")
        ]
        return [{"found": len(locked), "locked": orjson.dumps(locked).decode()}]


class OutOfOrder(RowByRow):
    """The lock order broken on purpose."""

    descending = True


class AskingDatabase(Database):
    """The production database, whose transactions ask for leave."""

    def __init__(self, shared: Database, player: Player, asking: type[Asking]) -> None:
        self.__dict__.update(shared.__dict__)
        self._player = player
        self._asking = asking

    async def transact(
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        *,
        job: str,
        **options: Any,
    ) -> Result:
        async def asking(transaction: Transaction) -> Result:
            (row,) = await transaction.fetch(_SESSION_ID, {})
            self._player.session = row["id"]
            result = await work(self._asking(transaction, self._player))
            await self._player.ask()  # to commit
            return result

        return await super().transact(asking, job=job, **options)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, and with which kind of asking."""

    run: Callable[[Database], Awaitable[Any]]
    asking: type[Asking] = Asking


@dataclass(slots=True)
class Played:
    """One interleaving: at each point who could go on and who did, and what came out."""

    points: list[tuple[list[int], int]] = field(default_factory=list)
    outcomes: list[Any] = field(default_factory=list)

    def alternatives(self, known: int) -> Iterator[list[int]]:
        """Other choices at every point behind the first `known`."""
        choices = [chosen for _, chosen in self.points]
        for at in range(known, len(self.points)):
            able, chosen = self.points[at]
            yield from ([*choices[:at], other] for other in able if other != chosen)


async def play(
    server: Server, database: Database, jobs: Sequence[Job], choose: Callable[[int, list[int]], int]
) -> Played:
    """Run the jobs at once; `choose` says at each point which of those that can goes on."""
    changed = asyncio.Event()
    players = [Player(changed) for _ in jobs]
    tasks = [
        asyncio.create_task(_run(job, AskingDatabase(database, player, job.asking)))
        for job, player in zip(jobs, players, strict=True)
    ]
    for task in tasks:
        task.add_done_callback(lambda _: changed.set())
    played = Played()
    try:
        while not all(task.done() for task in tasks):
            await _until_quiet(server, players, tasks, changed)
            if able := [number for number, player in enumerate(players) if player.leave]:
                chosen = choose(len(played.points), able)
                played.points.append((able, chosen))
                players[chosen].go()
        played.outcomes = [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return played


async def _run(job: Job, database: Database) -> Any:
    return await job.run(database)


async def _until_quiet(
    server: Server, players: Sequence[Player], tasks: Sequence["asyncio.Task[Any]"], changed: asyncio.Event
) -> None:
    """Until nobody runs: each is done, asks for leave, or waits for a lock (and no deadlock is about to be found)."""
    confirmations = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while confirmations < CONFIRMATIONS:
            changed.clear()
            running = [
                player
                for player, task in zip(players, tasks, strict=True)
                if not task.done() and not player.leave
            ]
            if not running:
                return
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await changed.wait()
                confirmations = 0
            except TimeoutError:
                waiting = await server.waiting()
                able = len(running) < len([task for task in tasks if not task.done()])
                stuck = able and all(player.session in waiting for player in running)
                confirmations = confirmations + 1 if stuck else 0


Reset = Callable[[], Awaitable[None]]
Check = Callable[[Played], Awaitable[None]]


async def play_all(
    server: Server,
    database: Database,
    jobs: Sequence[Job],
    reset: Reset,
    check: Check,
    *,
    most: int,
    is_over: Callable[[], bool],
) -> int:
    """Play every interleaving, each once, and check each; how many there were (at most `most`, and until it is over)."""
    untried: list[list[int]] = [[]]
    count = 0
    while untried and count < most and not is_over():
        choices = untried.pop()
        await reset()
        played = await play(server, database, jobs, partial(_follow, choices))
        await check(played)
        untried.extend(played.alternatives(len(choices)))
        count += 1
    return count


def _follow(choices: Sequence[int], at: int, able: list[int]) -> int:
    return choices[at] if at < len(choices) else able[0]


async def play_some(
    server: Server,
    database: Database,
    jobs: Sequence[Job],
    reset: Reset,
    check: Check,
    *,
    seed: int,
    count: int,
) -> int:
    """Play interleavings whose every choice is made by a seeded chance."""
    chance = random.Random(seed)
    for _ in range(count):
        await reset()
        await check(await play(server, database, jobs, lambda _, able: chance.choice(able)))
    return count
