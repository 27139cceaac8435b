"""Functions of jobs, and what is common to the tests of how a worker claims and ends them."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from arq.connections import ArqRedis
from arq.constants import result_key_prefix
from arq.utils import timestamp_ms
from arq.worker import Retry

from tests.asking import PATIENCE_SECONDS
from tests.integration.conftest import QUEUE, MakeWorker, Run, functions
from worker.database.transactions import Database
from worker.queue import wire

HEALTH: Final = f"{QUEUE}:health-check"


async def enqueue(redis: ArqRedis, job_ids: Sequence[str], request: Any = None) -> None:
    await wire.enqueue(redis, [wire.Message(wire.RESTOCK, job_id, request) for job_id in job_ids])


def job(name: str, request: Any) -> bytes:
    return wire.serialize({"t": None, "f": name, "a": [request], "k": {}, "et": timestamp_ms()})


async def run_job(make_worker: MakeWorker, database: Database, run: Run, **options: Any) -> None:
    await make_worker(database, functions=functions(restock=run), max_burst_jobs=1, **options).main()


async def result_of(redis: ArqRedis, job_id: str | bytes) -> dict[str, Any]:
    prefix = result_key_prefix.encode()
    result = await redis.get(prefix + (job_id if isinstance(job_id, bytes) else job_id.encode()))
    assert result, "no result"
    return wire.deserialize(result)


async def until_done(redis: ArqRedis, job_ids: Sequence[str]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await redis.exists(*(result_key_prefix + job_id for job_id in job_ids)) < len(job_ids):
            pass


async def done(ctx: dict[Any, Any], request: wire.Payload) -> Any:
    return {"tried": ctx["job_try"], "id": ctx["job_id"], "asked": request.content}


async def failing(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    raise KeyError("a bug")


async def again_later(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    raise Retry(defer=30)


async def again(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    raise Retry


class Jobs:
    """A function that lasts until it may go on, and how much ran at a time at most."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.sizes: dict[str, int] = {}
        self.most_jobs = self.most_bytes = self.largest = self.ran = 0

    async def run(self, ctx: dict[Any, Any], request: wire.Payload) -> None:
        self.ran += 1
        self.sizes[ctx["job_id"]] = size = len(job(wire.PLACE_ORDERS, request.content))
        self.largest = max(self.largest, size)
        self.most_jobs = max(self.most_jobs, len(self.sizes))
        self.most_bytes = max(self.most_bytes, sum(self.sizes.values()))
        await self.go.wait()
        del self.sizes[ctx["job_id"]]
