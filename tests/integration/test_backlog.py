"""For how long jobs have waited for a worker: what counts, and what does not."""

from collections.abc import Sequence

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix

from worker.queue import backlog
from worker.queue.backlog import read_waiting_seconds

QUEUE = "arq:queue"
RECOVERY_SECONDS = 6000  # in which no pause of the machine makes a job older


async def fill(redis: ArqRedis, ages: Sequence[float], *, claimed: int = 0) -> None:
    """Jobs that have been due for so many seconds; the first of them are claimed."""
    seconds, _ = await redis.time()
    jobs = {f"{age}".encode() + b"\xff": 1000 * (seconds - age) for age in ages}
    if jobs:
        await redis.zadd(QUEUE, jobs)
    for job_id in list(jobs)[:claimed]:
        await redis.set(in_progress_key_prefix.encode() + job_id, b"1")


@pytest.mark.parametrize(
    ("ages", "claimed", "waiting"),
    [
        ([], 0, 0),
        ([4000, 3000], 0, 4000),
        ([4000, 3000, 2000], 1, 3000),
        ([4000, 3000], 2, 0),
        ([-6000, -9000], 0, 0),
        ([4500, 4000, 3000, 2000], 3, 0),
        ([7200, 4000], 2, 7200),
    ],
    ids=[
        "empty", "the oldest", "one is claimed", "all are claimed", "none is due", "too many are claimed",
        "claimed for too long",
    ],
)  # fmt: skip
async def test_the_age_is_that_of_the_oldest_due_job_that_waits(
    ages: list[float], claimed: int, waiting: float, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "LOOKED_AT", 3)
    began = (await redis.time())[0]
    await fill(redis, ages, claimed=claimed)
    found = await read_waiting_seconds(redis, RECOVERY_SECONDS)
    passed = (await redis.time())[0] + 1 - began
    assert waiting <= found <= (waiting + passed if waiting else 0)
