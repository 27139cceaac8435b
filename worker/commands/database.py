"""The database of the settings, for one command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.database.migrations import check_ready
from worker.database.transactions import Database
from worker.settings import read_settings

Result = TypeVar("Result")


def on_database(work: Callable[[Database], Awaitable[Result]], **changed: float) -> Result:
    """What the work returns; settings that are `changed` hold for it alone. Raises LockstepError without tables."""

    async def run() -> Result:
        async with Database(read_settings().model_copy(update=changed)) as database:
            await check_ready(database)
            return await work(database)

    return asyncio.run(run())
