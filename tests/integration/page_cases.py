"""Functions of jobs, and what is common to the tests of `lockstep worker`'s own worker."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest
from arq.connections import ArqRedis
from arq.utils import timestamp_ms
from arq.worker import Retry, Worker

from tests.integration.conftest import MakeWorker, Run, functions
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.page_worker import PageWorker

KINDS: Final = [Worker, PageWorker]
QUEUE: Final = "arq:queue"
HEALTH: Final = "arq:queue:health-check"
both_kinds = pytest.mark.parametrize("kind", KINDS)


async def enqueue(redis: ArqRedis, job_ids: Sequence[str], request: Any = None) -> None:
    await wire.enqueue(redis, [wire.Message(wire.RESTOCK, job_id, request) for job_id in job_ids])


def job(name: str, request: Any) -> bytes:
    return wire.serialize({"t": None, "f": name, "a": [request], "k": {}, "et": timestamp_ms()})


async def run_job(
    make_worker: MakeWorker, database: Database, kind: type[Worker], run: Run, **options: Any
) -> None:
    await make_worker(
        database, kind=kind, functions=functions(restock=run), max_burst_jobs=1, **options
    ).main()


async def done(ctx: dict[Any, Any], request: wire.Payload) -> Any:
    return {"tried": ctx["job_try"], "id": ctx["job_id"], "asked": request.content}


async def failing(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    raise KeyError("a bug")


async def again_later(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    raise Retry(defer=30)


async def again(_ctx: dict[Any, Any], _request: wire.Payload) -> None:
    raise Retry


class Hands:
    """A function that lasts until it is let go, and what was in hand at most."""

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
