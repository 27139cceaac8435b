"""Traps of messages that somebody else has written."""

from base64 import b64decode
from pathlib import Path
from pickle import dumps
from typing import Any

import msgpack
import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.worker import Function, func

from jobs.dead_letters import dead_letters_of
from tests.asking import PATIENCE_SECONDS
from tests.conftest import MakeClient
from tests.lab.traps.arq_workers import (
    bare_queue,
    bare_worker,
    forget_the_dead_worker,
    our_worker,
    result_of,
    run_dry,
    working,
)
from tests.shop import an_order, open_shop
from worker.database.transactions import Database
from worker.settings import Settings

# arq takes for granted that `et`, the time, is a number.
POISON: dict[str, object] = {"t": None, "f": "place", "a": [], "k": {}, "et": "soon"}


async def put(redis: ArqRedis, job_id: str, message: bytes) -> None:
    await redis.set(job_key_prefix + job_id, message)
    await redis.zadd("arq:queue", {job_id: 1})


def placing() -> Function:
    async def place(ctx: Any, *arguments: object) -> str:
        return f"placed {arguments}"

    return func(place, name="place")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


async def test_pickle_wrong_a_message_runs_code_in_the_worker(settings: Settings, tmp_path: Path) -> None:
    """R20. Whoever can write to Redis can run anything where the orders and the passwords are."""
    proof = tmp_path / "proof"
    async with bare_queue(settings.redis_url) as queue:
        await put(queue, "order 1", dumps(Bomb(proof)))
        await run_dry(bare_worker(queue, [placing()]))
    assert proof.exists()


async def test_pickle_right_a_message_is_data(
    redis: ArqRedis, settings: Settings, database: Database, tmp_path: Path
) -> None:
    """R20. The worker reads msgpack and nothing else, says so to the sender, and keeps the bytes as they are."""
    proof = tmp_path / "proof"
    await put(redis, "order 1", dumps(Bomb(proof)))
    await run_dry(our_worker(redis, database, settings))
    assert not proof.exists()
    outcome = (await result_of(redis, "order 1")).result
    assert outcome["status"] == "dead"
    assert "the message cannot be read" in outcome["error"]
    (letter,) = await dead_letters_of(database, "order 1")
    assert b64decode(letter.request) == dumps(Bomb(proof))


async def test_poison_message_wrong_it_ends_every_worker_that_takes_it(settings: Settings) -> None:
    """R10. The message stays at the head of the queue, and each new worker ends in the same way."""
    async with bare_queue(
        settings.redis_url, job_serializer=msgpack.packb, job_deserializer=msgpack.unpackb
    ) as queue:
        await put(queue, "order 1", msgpack.packb(POISON))
        for _ in range(2):
            worker = bare_worker(
                queue, [placing()], job_serializer=msgpack.packb, job_deserializer=msgpack.unpackb
            )
            with pytest.raises(TypeError):
                await run_dry(worker)
            await forget_the_dead_worker(queue, "order 1")
        assert await queue.zcard("arq:queue") == 1


async def test_poison_message_right_it_is_answered_and_the_next_one_runs(
    redis: ArqRedis, settings: Settings, database: Database, make_client: MakeClient
) -> None:
    """R10. Whatever arq takes for granted is checked before arq sees it."""
    await open_shop(database, {1: 5})
    await put(redis, "poison", msgpack.packb(POISON | {"f": "place_order"}))
    receipt = await make_client(100).place(an_order({1: 1}))
    await run_dry(our_worker(redis, database, settings))
    outcome = (await result_of(redis, "poison")).result
    assert outcome["status"] == "dead"
    assert "et: " in outcome["error"]
    assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"


UNUSABLE = {
    "unreadable": b"\xc1",
    "unknown_function": msgpack.packb({"t": None, "f": "place_later", "a": [{}], "k": {}, "et": 1}),
}


@pytest.mark.parametrize("message", UNUSABLE.values(), ids=UNUSABLE)
async def test_unusable_message_wrong_the_only_copy_is_deleted_and_its_id_is_burnt(
    settings: Settings, message: bytes
) -> None:
    """R10. A worker of yesterday's version gets a job of today's: it fails, and the honest one is refused."""
    async with bare_queue(
        settings.redis_url, job_serializer=msgpack.packb, job_deserializer=msgpack.unpackb
    ) as queue:
        await put(queue, "order 1", message)
        worker = bare_worker(
            queue, [placing()], job_serializer=msgpack.packb, job_deserializer=msgpack.unpackb
        )
        await run_dry(worker)
        assert worker.jobs_failed == 1
        result = await result_of(queue, "order 1")
        assert result.result == "unable to serialize result", "not even the reason is kept"
        assert await queue.keys("arq:job:*") == []
        assert await queue.enqueue_job("place", _job_id="order 1") is None


@pytest.mark.parametrize("message", UNUSABLE.values(), ids=UNUSABLE)
async def test_unusable_message_right_the_reason_is_told_and_the_order_goes_through(
    redis: ArqRedis, settings: Settings, database: Database, message: bytes, make_client: MakeClient
) -> None:
    """R10. The message is kept as it came, for a version that can read it, and does not use up the order's id."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    await put(redis, str(order.order_id), message)
    await run_dry(our_worker(redis, database, settings))
    answer = await result_of(redis, str(order.order_id))
    assert answer.success
    assert "the message cannot be read" in answer.result["error"]
    (letter,) = await dead_letters_of(database, str(order.order_id))
    assert b64decode(letter.request) == message
    async with working(our_worker(redis, database, settings)):
        receipt = await make_client(100).place(order)
        assert receipt.known
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
