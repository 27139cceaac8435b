"""Jobs that nobody can run are kept, alone, and have their outcome when they are replayed."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path
from pickle import dumps
from typing import Any, Final, cast
from uuid import uuid4

import msgpack
import pytest
import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix
from arq.utils import timestamp_ms

from jobs.contract import Dead
from jobs.dead_letters import DeadLetter, dead_letters_of
from jobs.orders.requests import PlaceOrder
from tests.asking import PATIENCE_SECONDS, Session, until
from tests.integration.conftest import MakeWorker, running
from tests.integration.letters import POISONED, a_letter, mend, poison, waiting
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import dead_letters as module
from worker.queue import wire
from worker.queue.dead_letters import SUFFIX, DeadLetters, dead_letter
from worker.queue.paged_redis import PagedRedis
from worker.queue.replay import Replay
from worker.queue.tasks import DEAD_LETTERS_KEY
from worker.settings import Settings

QUEUE: Final = "arq:queue"


@pytest.fixture
async def shop(database: Database, session: Session) -> None:
    await open_shop(database, {1: 1000})
    await poison(session)


async def put(redis: ArqRedis, job_id: str, message: bytes) -> None:
    await redis.set(job_key_prefix + job_id, message)
    await redis.zadd(QUEUE, {job_id: 1})


async def result_of(redis: ArqRedis, job_id: str) -> Any:
    kept = await redis.get(result_key_prefix + job_id)
    assert kept, "the job has no result"
    return wire.deserialize(kept)["r"]


async def test_a_poison_order_among_single_ones_is_buried_and_the_others_are_placed(
    shop: None,
    database: Database,
    make_worker: MakeWorker,
    client: OrderClient,
    letters: DeadLetters,
    redis: ArqRedis,
) -> None:
    bad, good = an_order({1: 2}, customer_id=POISONED), [an_order({1: 1}) for _ in range(20)]
    receipts = [receipt async for receipt in client.place_many([*good[:7], bad, *good[7:]], chunk=1)]
    with structlog.testing.capture_logs() as logs:
        await make_worker(database).main()
    outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
    assert [outcome.status for outcome in outcomes] == ["placed"] * 7 + ["dead"] + ["placed"] * 13
    assert isinstance(outcomes[7], Dead)
    assert outcomes[7].job_id == str(bad.order_id)
    assert "kept as a dead letter" in outcomes[7].error
    assert "1690" not in outcomes[7].error, "what the database says is not the customer's business"
    (letter,) = await letters.of(str(bad.order_id))
    assert letter.job == "place_order"
    assert PlaceOrder.model_validate(letter.request) == bad
    assert "move_balances: 1690" in letter.error
    assert letter.tries == 1
    assert letter.enqueued_at
    assert letter.enqueued_at <= letter.buried_at
    (buried,) = [line for line in logs if line["event"] == "buried"]
    assert buried["log_level"] == "error"
    assert buried["job_id"] == str(bad.order_id)
    assert await letters.count() == 1
    assert await redis.zcard(QUEUE) == 0


async def test_a_poison_order_in_a_bulk_job_is_buried_alone_and_placed_by_a_replay(
    shop: None,
    database: Database,
    make_worker: MakeWorker,
    client: OrderClient,
    letters: DeadLetters,
    replay: Replay,
    session: Session,
    redis: ArqRedis,
) -> None:
    bad, good = an_order({1: 2}, customer_id=POISONED), [an_order({1: 1}) for _ in range(5)]
    receipts = [receipt async for receipt in client.place_many([*good[:2], bad, *good[2:]])]
    await make_worker(database).main()
    async with running(make_worker(database, burst=False)):
        outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
        assert [outcome.status for outcome in outcomes] == ["placed"] * 2 + ["dead"] + ["placed"] * 3
        (letter,) = await letters.of(str(bad.order_id))
        await mend(session)
        assert (await replay.run(letter))["status"] == "placed"
        assert (await receipts[2].outcome(timeout=PATIENCE_SECONDS)).status == "placed", (
            "the same receipt, asked again"
        )
    assert not await letters.of(str(bad.order_id))
    assert not await broken_invariants(database)


async def test_an_order_that_is_twice_in_a_bulk_job_with_other_content_has_two_letters(
    shop: None, database: Database, make_worker: MakeWorker, letters: DeadLetters, redis: ArqRedis
) -> None:
    one = an_order({1: 1}, customer_id=POISONED)
    other = an_order({1: 2}, customer_id=POISONED, order_id=one.order_id)
    await redis.enqueue_job("place_orders", [order.model_dump(mode="json") for order in (one, other)])
    await make_worker(database).main()
    kept = {
        PlaceOrder.model_validate(letter.request).fingerprint
        for letter in await letters.of(str(one.order_id))
    }
    assert kept == {one.fingerprint, other.fingerprint}


@pytest.mark.parametrize("name", ["cancel_order", "restock"])
async def test_any_job_that_fails_for_a_bug_is_buried_and_replayed(
    name: str,
    database: Database,
    make_worker: MakeWorker,
    letters: DeadLetters,
    replay: Replay,
    session: Session,
    redis: ArqRedis,
    client: OrderClient,
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    table = "outbox" if name == "cancel_order" else "restocks"
    async with running(make_worker(database, burst=False)):
        await (await client.place(order)).outcome(timeout=PATIENCE_SECONDS)
        request = (
            {"order_id": str(order.order_id)}
            if name == "cancel_order"
            else {"restock_id": str(uuid4()), "product_id": 1, "quantity": 2}
        )
        await session.run(f"RENAME TABLE {table} TO mislaid")
        try:
            await wire.enqueue(redis, [wire.Message(name, "job", request)])

            async def buried() -> list[DeadLetter]:
                return await letters.of("job")

            (letter,) = await until(buried, "the job to be buried")
        finally:
            await session.run(f"RENAME TABLE mislaid TO {table}")
        assert (letter.job, letter.request) == (name, request)
        assert ": 1146 " in letter.error
        done = await replay.run(letter)
        assert done["status"] in {"cancelled", "restocked"}
    assert not await letters.of("job")
    assert not await broken_invariants(database)


async def test_a_job_that_cannot_connect_is_not_buried_however_the_server_refuses(
    settings: Settings, make_worker: MakeWorker, letters: DeadLetters, redis: ArqRedis
) -> None:
    """A password that somebody has changed is no fault of the orders."""
    user, host = settings.mysql_url.split("@")
    await redis.enqueue_job("place_order", an_order({1: 1}).model_dump(mode="json"), _job_id="job")
    async with Database(settings.model_copy(update={"mysql_url": f"{user}x@{host}"})) as refused:
        worker = make_worker(refused, max_burst_jobs=1)
        await worker.main()
    assert worker.jobs_retried == 1
    assert await letters.count() == 0


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


UNKNOWN: Final = msgpack.packb({"t": None, "f": "place_later", "a": [{"x": 1}], "k": {}, "et": 1})
WRONG_TYPE: Final = msgpack.packb({"t": None, "f": "place_order", "a": [], "k": {}, "et": "soon"})


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"\xc1\x00", "the message cannot be read"),
        (UNKNOWN, "there is no job named 'place_later'"),
        (WRONG_TYPE, "et: Input should be a valid integer"),
    ],
    ids=["not_msgpack", "unknown_job", "wrong_type"],
)
async def test_what_cannot_be_read_is_kept_byte_by_byte(
    message: bytes,
    why: str,
    database: Database,
    make_worker: MakeWorker,
    letters: DeadLetters,
    replay: Replay,
    redis: ArqRedis,
) -> None:
    await put(redis, "strange", message)
    await make_worker(database).main()
    outcome = await result_of(redis, "strange")
    assert outcome["status"] == "dead"
    assert why in outcome["error"]
    (letter,) = await letters.of("strange")
    assert (letter.job, letter.request) == ("unreadable", b64encode(message).decode())
    assert why in letter.error
    async with running(make_worker(database, burst=False)):
        assert (await replay.run(letter))["status"] == "dead", "nobody has learned to read it"
    assert len(await letters.of("strange")) == 1


async def test_a_job_of_tomorrows_version_is_run_by_a_replay_of_tomorrow(
    database: Database,
    make_worker: MakeWorker,
    letters: DeadLetters,
    replay: Replay,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bytes go back as they came."""
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    packed = wire.pack(wire.Message(wire.PLACE_ORDER, "", order.model_dump(mode="json")), timestamp_ms())
    with monkeypatch.context() as yesterday:
        yesterday.setattr(wire, "PLACE_ORDER", "place_order_of_yesterday")
        await put(redis, str(order.order_id), packed)
        await make_worker(database).main()
    (letter,) = await letters.of(str(order.order_id))
    assert "there is no job named 'place_order'" in letter.error
    async with running(make_worker(database, burst=False)):
        assert (await replay.run(letter))["status"] == "placed"
    assert await letters.count() == 0


async def test_a_bulk_job_of_tomorrows_version_is_kept_until_each_of_its_orders_can_be_read(
    database: Database,
    make_worker: MakeWorker,
    letters: DeadLetters,
    replay: Replay,
    redis: ArqRedis,
) -> None:
    await open_shop(database, {1: 5})
    orders = [an_order({1: 1}).model_dump(mode="json") for _ in range(2)]
    strange = [orders[0], {**orders[1], "gift": True}]
    for job_id, content in (("bulk", orders), ("strange", strange)):
        packed = wire.pack(wire.Message(wire.PLACE_ORDERS, job_id, content), timestamp_ms())
        await letters.bury(dead_letter(job_id, wire.UNREADABLE, b64encode(packed).decode(), "not known yet"))
    async with running(make_worker(database, burst=False)):
        for job_id, statuses in (("bulk", ["placed", "placed"]), ("strange", ["placed", "invalid"])):
            (letter,) = await letters.of(job_id)
            assert [outcome["status"] for outcome in await replay.run(letter)] == statuses
    assert not await letters.of("bulk")
    assert len(await letters.of("strange")) == 1


async def test_an_order_is_buried_under_its_own_id_whatever_the_id_of_its_job(
    shop: None, database: Database, make_worker: MakeWorker, letters: DeadLetters, redis: ArqRedis
) -> None:
    order = an_order({1: 1}, customer_id=POISONED)
    await redis.enqueue_job("place_order", order.model_dump(mode="json"), _job_id="another")
    await make_worker(database).main()
    assert (await result_of(redis, "another"))["job_id"] == str(order.order_id)
    (letter,) = await letters.of(str(order.order_id))
    assert letter.order == order
    assert not await letters.of("another")


async def test_a_pickled_message_is_kept_and_never_unpickled(
    database: Database,
    make_worker: MakeWorker,
    letters: DeadLetters,
    replay: Replay,
    redis: ArqRedis,
    tmp_path: Path,
) -> None:
    proof = tmp_path / "proof"
    await put(redis, "pickled", dumps(Bomb(proof)))
    await make_worker(database).main()
    (letter,) = await letters.of("pickled")
    async with running(make_worker(database, burst=False)):
        await replay.run(letter)
    assert not proof.exists()


async def test_a_message_of_more_than_a_megabyte_that_cannot_be_read_is_answered_and_not_kept(
    database: Database, make_worker: MakeWorker, letters: DeadLetters, redis: ArqRedis
) -> None:
    await put(redis, "huge", b"\xc1" * (wire.MAX_KEPT_BYTES + 1))
    await put(redis, "large", b"\xc1" * wire.MAX_KEPT_BYTES)
    await make_worker(database).main()
    assert (await result_of(redis, "huge"))["status"] == "invalid"
    assert (await result_of(redis, "large"))["status"] == "dead"
    assert await letters.count() == 1


async def test_a_request_that_breaks_a_rule_is_invalid_and_not_buried(
    database: Database, make_worker: MakeWorker, letters: DeadLetters, redis: ArqRedis
) -> None:
    await redis.enqueue_job("place_order", {"order_id": "x"}, _job_id="job")
    await make_worker(database).main()
    assert (await result_of(redis, "job"))["status"] == "invalid"
    assert await letters.count() == 0


async def test_a_worker_that_dies_between_burying_and_the_end_of_the_job_leaves_one_letter(
    shop: None,
    database: Database,
    make_worker: MakeWorker,
    letters: DeadLetters,
    redis: ArqRedis,
) -> None:
    """The job is there again as it was, and is delivered again."""
    order = an_order({1: 1}, customer_id=POISONED)
    message = wire.Message(wire.PLACE_ORDER, str(order.order_id), order.model_dump(mode="json"))
    await letters.bury(a_letter(order, error="of the worker that died", tries=1))
    await wire.enqueue(redis, [message])
    await redis.set(f"arq:retry:{order.order_id}", 1)
    await make_worker(database).main()
    (letter,) = await letters.of(str(order.order_id))
    assert letter.tries == 2
    assert "1690" in letter.error
    assert await letters.count() == 1


async def test_while_mysql_is_down_a_letter_waits_in_redis_and_moves_when_it_is_back(
    database: Database,
    settings: Settings,
    letters: DeadLetters,
    redis: ArqRedis,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOVE_SECONDS", 0.05)
    await put(redis, "strange", b"\xc1")
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as outage:
        worker = make_worker(outage)
        await worker.main()
        assert (await result_of(redis, "strange"))["status"] == "dead"
        assert await waiting(redis) == 1
        (before,) = await letters.of("strange")
        assert [letter.job_id for letter in await letters.oldest(10)] == ["strange"]
        assert await letters.count() == 1
        worker.ctx[DEAD_LETTERS_KEY]._database = database  # it is back

        async def moved() -> bool:
            return not await waiting(redis)

        await until(moved, "the letter to move")
    assert await letters.of("strange") == [before]
    assert await letters.count() == 1


async def test_a_worker_that_starts_moves_what_another_has_left_in_redis(
    letters: DeadLetters, redis: ArqRedis, database: Database
) -> None:
    left = a_letter(an_order({1: 1}))
    await cast("Any", redis).hset(QUEUE + SUFFIX, f"{left.fingerprint}:{left.job_id}", left.model_dump_json())
    letters.start()

    async def moved() -> list[DeadLetter]:
        return await dead_letters_of(database, left.job_id)

    assert await until(moved, "the letter to move") == [left]


async def test_a_bulk_job_that_has_to_wait_for_a_row_buries_its_poison_order_in_the_end(
    shop: None,
    settings: Settings,
    make_worker: MakeWorker,
    client: OrderClient,
    letters: DeadLetters,
    session: Session,
    redis: ArqRedis,
) -> None:
    """It is tried again as a whole, and each of its orders has one outcome."""
    bad, held, good = (an_order({1: 1}, customer_id=number) for number in (POISONED, 2, 3))
    receipts = [receipt async for receipt in client.place_many([bad, held, good])]
    await session.run("BEGIN")
    await session.run("SELECT * FROM customers WHERE customer_id = 2 FOR UPDATE")
    async with Database(settings.model_copy(update={"lock_wait_seconds": 1})) as hasty:
        first = make_worker(hasty, max_burst_jobs=1, batch_seconds=1)
        await first.main()
        assert first.jobs_retried == 1
        assert await letters.count() == 0
        await session.run("COMMIT")
        async with running(make_worker(hasty, burst=False)):
            outcomes = [await receipt.outcome(timeout=PATIENCE_SECONDS) for receipt in receipts]
    assert [outcome.status for outcome in outcomes] == ["dead", "placed", "placed"]
    assert await letters.count() == 1


async def test_while_both_are_down_the_job_stays_in_the_queue(
    settings: Settings,
    letters: DeadLetters,
    redis: ArqRedis,
    pool: PagedRedis,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await put(redis, "strange", b"\xc1")

    async def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no Redis")

    monkeypatch.setattr(pool, "hset", refuse)
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as outage:
        worker = make_worker(outage, pool=pool, max_burst_jobs=1)
        await worker.main()
    assert worker.jobs_retried == 1
    assert await redis.get(job_key_prefix + "strange") == b"\xc1"
    assert not await redis.exists(in_progress_key_prefix + "strange")


async def test_a_letter_that_mysql_refuses_stays_in_redis_and_is_in_nobodys_way(
    database: Database, letters: DeadLetters, redis: ArqRedis, session: Session
) -> None:
    order = an_order({1: 1})
    refused = a_letter(order).model_copy(update={"job_id": "x" * 3000})
    await letters.bury(refused, a_letter(order))
    assert await waiting(redis) == 2, "both, since they share a transaction"

    async def moved() -> bool:
        return await waiting(redis) == 1

    await until(moved, "the other letter to move")
    assert await session.value("SELECT COUNT(*) FROM dead_letters") == 1
    assert {job_id async for page in letters.job_ids() for job_id in page} == {
        "x" * 3000,
        str(order.order_id),
    }
    assert await letters.of("x" * 3000) == [refused]
    await letters.remove(refused)
    assert not await letters.of("x" * 3000)


async def test_of_letters_that_wait_in_redis_only_those_asked_for_are_read(
    database: Database, letters: DeadLetters, redis: ArqRedis
) -> None:
    """Also where the id is full of characters that mean something in a pattern."""
    strange = ["*", "?", "[a-z]", "\\", "a:b", "x" * 3000]
    waiting = [dead_letter(job_id, wire.UNREADABLE, "x" * 1000, "a bug") for job_id in strange]
    others = [dead_letter(f"other {number}", wire.UNREADABLE, "x" * 1000, "a bug") for number in range(1000)]
    kept = {f"{letter.fingerprint}:{letter.job_id}": letter.model_dump_json() for letter in waiting + others}
    await cast("Any", redis).hset(QUEUE + SUFFIX, mapping=kept)
    before = (await redis.info("stats"))["total_net_output_bytes"]
    for letter in waiting:
        assert await letters.of(letter.job_id) == [letter]
    assert not await letters.of("other")
    after = (await redis.info("stats"))["total_net_output_bytes"]
    assert after - before < 100_000, "a tenth of what is there"
    assert {job_id async for page in letters.job_ids() for job_id in page} == {
        letter.job_id for letter in waiting + others
    }
    assert await letters.oldest(3) == waiting[:3]
    assert await letters.count() == len(waiting + others)


async def test_a_replay_keeps_its_letter_until_the_job_has_an_outcome_and_may_be_repeated(
    database: Database,
    letters: DeadLetters,
    replay: Replay,
    redis: ArqRedis,
    make_worker: MakeWorker,
    session: Session,
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    letter = a_letter(order)
    await letters.bury(letter)
    waiting = asyncio.create_task(replay.run(letter))

    async def is_queued() -> bool:
        return bool(await redis.zcard(QUEUE))

    await until(is_queued, "the job to be queued")
    assert not waiting.done()
    assert await letters.of(str(order.order_id)) == [letter], "no worker runs"
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await letters.of(str(order.order_id)) == [letter]
    async with running(make_worker(database, burst=False)):
        for _ in range(2):
            assert (await replay.run(letter))["status"] == "placed"
            assert not await letters.of(str(order.order_id))
        both = await asyncio.gather(replay.run(letter), replay.run(letter))
        assert {outcome["status"] for outcome in both} == {"placed"}
    assert await session.value("SELECT COUNT(*) FROM orders") == 1
    assert not await broken_invariants(database)


async def test_a_replay_of_other_content_is_not_answered_by_what_waits_under_its_id(
    database: Database, letters: DeadLetters, replay: Replay, redis: ArqRedis, make_worker: MakeWorker
) -> None:
    await open_shop(database, {1: 5})
    dead = an_order({1: 1})
    again = an_order({1: 2}, order_id=dead.order_id)
    await letters.bury(a_letter(dead))
    await wire.enqueue(
        redis, [wire.Message(wire.PLACE_ORDER, str(again.order_id), again.model_dump(mode="json"))]
    )
    (letter,) = await letters.of(str(dead.order_id))
    task = asyncio.create_task(replay.run(letter))
    await asyncio.sleep(0)
    async with running(make_worker(database, burst=False)):
        assert (await task)["status"] == "conflict"


async def test_letters_are_read_as_they_were_written(letters: DeadLetters) -> None:
    order = an_order({1: 1})
    strange = [
        a_letter(order),
        *(a_letter(order, job_id=f"{order.order_id}{end}") for end in (" ", "é🍮", "'\\")),
    ]
    await letters.bury(*strange)
    for letter in strange:
        assert await letters.of(letter.job_id) == [letter]
    listed = await letters.oldest(3)
    assert [letter.job_id for letter in listed] == [letter.job_id for letter in strange[:3]]
    assert json.loads(listed[0].model_dump_json())["request"] is None
    assert [job_id async for page in letters.job_ids() for job_id in page] == sorted(
        letter.job_id for letter in strange
    )
