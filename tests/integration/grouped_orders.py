"""Group commit of orders, and a database that notes what shares a transaction."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

from jobs.orders.outcomes import PlaceOutcome
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Transaction
from tests.asking import PATIENCE_SECONDS
from tests.integration.patience import NEVER
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.batch_size import MOST, BatchSize
from worker.queue.group_commit import GroupCommit
from worker.queue.placing import Placing
from worker.settings import Settings

Result = TypeVar("Result")
Outcomes = list[PlaceOutcome | Exception]


class CountingDatabase(Database):
    """Notes how many orders each transaction of a group commit has."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sizes: list[int] = []

    async def transact(
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        *,
        job: str,
        **options: Any,
    ) -> Result:
        if job == wire.PLACE_ORDERS:
            self.sizes.append(len(cast("partial[Any]", work).keywords["orders"]))
        return await super().transact(work, job=job, **options)


class Orders(GroupCommit[PlaceOrder, PlaceOutcome]):
    """Of one worker, which waits for no other's turn."""

    def __init__(self, database: Database, batch_seconds: float = PATIENCE_SECONDS) -> None:
        placing = Placing(database, batch_seconds=batch_seconds)
        super().__init__(placing, self, BatchSize(MOST), wait_seconds=NEVER)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """At once."""
        yield

    async def place(self, orders: Sequence[PlaceOrder], *, again: bool = False) -> Outcomes:
        """Without traces."""
        return await self.run_each(orders, [None] * len(orders), again=again)
