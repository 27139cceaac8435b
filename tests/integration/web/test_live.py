"""The live page's own routes, with real servers, real jobs and real deadlocks; its page in a browser is in end_to_end."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.worker import Worker

from jobs.api_keys import add_key, new_key
from jobs.orders.locks import lock_stock
from jobs.orders.requests import PlaceOrder, Restock
from jobs.transaction import Transaction
from tests.asking import PATIENCE_SECONDS, Session, until, until_waiting
from tests.integration.conftest import MakeWorker
from tests.integration.patience import NEVER
from tests.integration.web.conftest import Client, problem
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.probes import Health
from worker.queue import wire
from worker.queue.crew import Crew
from worker.queue.dead_letters import DeadLetters, dead_letter
from worker.queue.event_stream import EventStream
from worker.queue.relay import Relay
from worker.queue.vitals import Pulse, keep_deadlock
from worker.settings import Settings
from worker.web import live
from worker.web.application import make_application
from worker.web.beats import Beat

NOBODY = "redis://127.0.0.1:1/0"  # where nothing listens
Told = Callable[[Mapping[str, Any]], bool]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.web.watch.BEAT_SECONDS", 0.1)
    # What is counted is counted until the test ends.
    monkeypatch.setattr("worker.web.beats.WINDOW_SECONDS", NEVER)
    monkeypatch.setattr("worker.web.recent.WINDOW_SECONDS", NEVER)
    monkeypatch.setattr("worker.web.recent.HISTORY_SECONDS", NEVER)
    monkeypatch.setattr("worker.queue.seconds.KEEP_SECONDS", 2 * NEVER)
    monkeypatch.setattr("worker.queue.vitals.ALIVE_SECONDS", NEVER)


@pytest.fixture
async def pulse(redis: ArqRedis, database: Database) -> AsyncIterator[Pulse]:
    """What a worker process tells of itself, here of this process."""
    started = Pulse(redis, database, Health(), Crew())
    started.start()
    yield started
    await started.stop()


@pytest.fixture
async def relay(database: Database, stream: EventStream) -> AsyncIterator[Relay]:
    """What carries events to the stream, as in a worker process."""
    started = Relay(database, stream)
    started.start()
    yield started
    await started.stop()


async def beat(door: Client) -> dict[str, Any]:
    async with door.get("/live") as response:
        assert response.status == 200
        content: dict[str, Any] = await response.json()
    return content


async def hash_of(redis: ArqRedis, key: str, field: str, value: int) -> None:
    await redis.execute_command("HSET", key, field, value)  # type: ignore[no-untyped-call]  # redis-py has no type for it


async def until_told(door: Client, told: Told) -> dict[str, Any]:
    """The first beat that says so."""

    async def ask() -> dict[str, Any] | None:
        content = await beat(door)
        return content if told(content) else None

    return await until(ask, "a beat that tells it")


async def events(stream: Any) -> AsyncIterator[tuple[str, Any]]:
    """The events of an answer, each with its content."""
    while name := await stream.readline():
        data, empty = await stream.readline(), await stream.readline()
        assert (name[:7], data[:6], empty) == (b"event: ", b"data: ", b"\n")
        yield name[7:-1].decode(), json.loads(data[6:])


async def bury(order: PlaceOrder, database: Database, redis: ArqRedis) -> None:
    """As if a bug had hit it."""
    message = wire.placing(order)
    letter = dead_letter(message.job_id, message.task, message.payload, "KeyError: a bug")
    await DeadLetters(database, redis).bury(letter)


async def test_an_empty_system_says_what_it_lacks(door: Client) -> None:
    content = await beat(door)
    assert content.pop("at")
    assert content.pop("points") == []
    assert content == {
        "troubles": [],
        "orders_per_second": 0,
        "outcomes": [],
        "latency": None,
        "conflicts": [],
        "deferred": 0,
        "queue": {"jobs": 0, "oldest_seconds": 0},
        "workers": [],
        "deadlock": None,
        "products": {"stocked": False, "orders": 0, "hottest": []},
        "dead_letters": {"count": 0, "oldest": []},
    }


async def test_jobs_that_nobody_takes_are_seen_to_wait(
    door: Client, database: Database, client: OrderClient
) -> None:
    await open_shop(database, {1: 5})
    for _ in range(3):
        await client.place(an_order({1: 1}))
    content = await until_told(door, lambda told: told["queue"]["oldest_seconds"] > 1)
    assert content["queue"]["jobs"] == 3
    assert content["workers"] == []
    assert content["products"]["stocked"]


async def test_what_the_workers_did_before_the_page_was_opened_is_in_its_first_beat(
    door: Client,
    database: Database,
    client: OrderClient,
    worker: Worker,
    redis: ArqRedis,
    stream: EventStream,
) -> None:
    await open_shop(database, {1: 20, 2: 5}, {2: 100})
    pulse = Pulse(redis, database, Health(), Crew())
    orders = [an_order({1: 1}) for _ in range(20)]
    orders += [an_order({2: 6}), an_order({2: 7}), an_order({2: 2}, customer_id=2)]
    for order in orders:
        await (await client.place(order)).outcome(PATIENCE_SECONDS)
    await (await client.restock(Restock(restock_id=uuid4(), product_id=2, quantity=5))).outcome(
        PATIENCE_SECONDS
    )
    await Relay(database, stream).relay_batch()
    await pulse.beat()
    content = await beat(door)
    assert content["outcomes"] == [
        {"outcome": "placed", "reason": None, "count": 20},
        {"outcome": "rejected", "reason": "insufficient_stock", "count": 2},
        {"outcome": "rejected", "reason": "credit_limit", "count": 1},
        {"outcome": "restocked", "reason": None, "count": 1},
    ]
    assert content["products"]["orders"] == 20
    assert content["products"]["hottest"] == [{"product_id": 1, "name": "product 1", "orders": 20}]
    assert content["latency"]["jobs"] == 24
    assert 0 < content["latency"]["p50"] <= content["latency"]["p95"] <= content["latency"]["p99"]
    (seen,) = content["workers"]
    assert seen.keys() == {"id", "host", "pid", "started_at", "alive", "orders_per_second"}
    assert seen["alive"]
    assert seen["orders_per_second"] > 0


async def test_the_orders_of_a_worker_that_was_killed_are_all_counted(
    door: Client,
    database: Database,
    client: OrderClient,
    redis: ArqRedis,
    stream: EventStream,
    make_worker: MakeWorker,
) -> None:
    """It has not said what it has done, and another worker publishes its events."""
    await open_shop(database, {1: 3})
    Pulse(redis, database, Health(), Crew())
    for _ in range(4):
        await client.place(an_order({1: 1}))
    await make_worker(database).main()
    await Relay(database, stream).relay_batch()
    content = await beat(door)
    assert content["workers"] == []
    assert content["outcomes"] == [
        {"outcome": "placed", "reason": None, "count": 3},
        {"outcome": "rejected", "reason": "insufficient_stock", "count": 1},
    ]
    assert content["products"]["hottest"] == [{"product_id": 1, "name": "product 1", "orders": 3}]


async def test_the_rate_rises_and_falls_with_the_orders(
    door: Client, database: Database, client: OrderClient, worker: Worker, relay: Relay
) -> None:
    await open_shop(database, {1: 10_000})

    async def rises() -> bool:
        receipts = [await client.place(an_order({1: 1})) for _ in range(10)]
        await asyncio.gather(*(receipt.outcome(PATIENCE_SECONDS) for receipt in receipts))
        rate: float = (await beat(door))["orders_per_second"]
        return rate > 0

    await until(rises, "a rate above nothing")
    content = await until_told(door, lambda told: told["orders_per_second"] == 0)
    assert any(orders > 0 for _, orders, _ in content["points"])


async def test_the_hottest_products_are_named(
    door: Client, database: Database, client: OrderClient, worker: Worker, relay: Relay
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 12), 100))
    orders = [
        an_order({3: 1, 7: 9}),
        an_order({7: 1}),
        an_order({11: 1}),
        an_order({7: 2, 3: 1}),
        an_order({1: 101}),
    ]
    for order in orders:
        await (await client.place(order)).outcome(PATIENCE_SECONDS)
    content = await until_told(door, lambda told: told["products"]["orders"] == 4)
    assert content["products"]["hottest"] == [
        {"product_id": 7, "name": "product 7", "orders": 3},
        {"product_id": 3, "name": "product 3", "orders": 2},
        {"product_id": 11, "name": "product 11", "orders": 1},
    ]


async def test_a_conflict_that_was_retried_is_counted_and_its_deadlock_explained(
    door: Client, settings: Settings, redis: ArqRedis, session: Session, other_session: Session, pulse: Pulse
) -> None:
    async with door.get("/live/deadlock.svg") as response:
        assert response.status == 404
        assert "no worker has met a deadlock" in (await problem(response))["detail"]

    async def take(transaction: Transaction) -> None:
        await lock_stock(transaction, [1, 2])

    async with Database(settings, tell_deadlock=partial(keep_deadlock, redis)) as database:
        await open_shop(database, dict.fromkeys(range(1, 200), 5))
        await until_told(door, lambda told: bool(told["workers"]))
        await session.run("BEGIN")
        await session.run("UPDATE stock SET available = available + 1 WHERE product_id >= 2")
        job = asyncio.create_task(database.transact(take, job="take"))
        await until_waiting(other_session, 1)
        # It has written more than the job, which is the victim therefore.
        await session.run("UPDATE stock SET available = available + 1 WHERE product_id = 1")
        await session.run("COMMIT")
        await job
        content = await until_told(door, lambda told: told["deadlock"] and told["conflicts"])
    assert content["conflicts"] == [{"code": 1213, "statement": "lock_stock", "count": 1}]
    deadlock = content["deadlock"]
    assert (deadlock["job"], deadlock["pitfall"]) == ("take", "P21")
    assert deadlock["cure"].endswith(".")
    sessions = {one["session_id"] for one in deadlock["transactions"]}
    assert sessions == {one["waits_for_session"] for one in deadlock["transactions"]}
    assert "lock_stock" in {one["ran"] for one in deadlock["transactions"]}
    assert all("stock, index PRIMARY" in one["wanted"] for one in deadlock["transactions"])
    async with door.get("/live/deadlock.svg") as response:
        assert response.content_type == "image/svg+xml"
        assert "script" not in response.headers["Content-Security-Policy"]
        picture = await response.text()
    assert all(f"session {number}" in picture for number in sessions)


async def test_dead_letters_are_told_the_oldest_first(
    door: Client, database: Database, redis: ArqRedis
) -> None:
    orders = [an_order({1: 1}) for _ in range(25)]
    for order in orders:
        await bury(order, database, redis)
    content = (await beat(door))["dead_letters"]
    assert content["count"] == 25
    assert [letter["job_id"] for letter in content["oldest"]] == [
        str(order.order_id) for order in orders[:20]
    ]
    assert content["oldest"][0].keys() == {"job_id", "job", "error", "tries", "buried_at"}
    assert content["oldest"][0]["error"] == "KeyError: a bug"


async def test_a_dead_letter_is_replayed(
    door: Client, database: Database, redis: ArqRedis, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    order = an_order({1: 1})
    await bury(order, database, redis)
    assert (await beat(door))["dead_letters"]["count"] == 1
    async with door.post("/live/replay", json={"job_id": str(order.order_id)}) as response:
        assert response.status == 200
        content = await response.json()
    assert content["dead"] == 0
    assert [one["status"] for one in content["outcomes"]] == ["placed"]
    await until_told(door, lambda told: told["dead_letters"]["count"] == 0)
    assert not await broken_invariants(database)


async def test_a_letter_that_is_dead_again_is_kept(
    door: Client, database: Database, redis: ArqRedis, worker: Worker
) -> None:
    await redis.set(job_key_prefix + "strange", b"\xc1")
    await redis.zadd("arq:queue", {"strange": 1})
    await until_told(door, lambda told: told["dead_letters"]["count"] == 1)
    async with door.post("/live/replay", json={"job_id": "strange"}) as response:
        assert (response.status, (await response.json())["dead"]) == (200, 1)
    assert (await beat(door))["dead_letters"]["count"] == 1


async def test_a_replay_without_a_worker_is_queued_and_its_letter_kept(
    door: Client, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "REPLAY_SECONDS", 0.2)
    order = an_order({1: 1})
    await bury(order, database, redis)

    async def is_queued() -> bool:
        """A pause may end the wait before the job is sent."""
        async with door.post("/live/replay", json={"job_id": str(order.order_id)}) as response:
            assert response.status == 202
            assert await response.json() == {"waiting": True}
        return bool(await redis.zcard("arq:queue"))

    await until(is_queued, "the job to be queued")
    content = await beat(door)
    assert (content["queue"]["jobs"], content["dead_letters"]["count"]) == (1, 1)


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        ({"json": {"job_id": "nobody"}}, 404, "there is no dead letter of this job"),
        ({"json": {"job_id": ""}}, 400, "job_id"),
        ({"json": {"job_id": "x" * 2049}}, 400, "job_id"),
        ({"json": {}}, 400, "job_id"),
        ({"json": {"job_id": "x", "all": True}}, 400, "all"),
        ({"json": [1]}, 400, "request"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "no JSON"),
        ({"data": {"job_id": "x"}}, 415, "application/json"),
        ({"json": {"job_id": "x" * 20_000}}, 413, "bytes"),
        ({"json": {"job_id": "x"}, "headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "another site"),
        ({"json": {"job_id": "x"}, "headers": {"Origin": "https://evil.example"}}, 403, "another site"),
    ],
)
async def test_a_replay_that_cannot_be_is_refused_in_a_sentence(
    door: Client, sent: dict[str, Any], status: int, says: str
) -> None:
    async with door.post("/live/replay", **sent) as response:
        assert response.status == status
        assert says in (await problem(response))["detail"]


async def test_a_replay_needs_a_key_where_keys_are_needed(settings: Settings, database: Database) -> None:
    key = new_key()
    await database.transact(partial(add_key, name="wall", key=key), job="test")
    async with TestClient(TestServer(make_application(settings))) as opened:
        async with opened.post("/live/replay", json={"job_id": "x"}) as response:
            assert response.status == 401
        held = {"Authorization": f"Bearer {key}"}
        async with opened.post("/live/replay", json={"job_id": "x"}, headers=held) as response:
            assert response.status == 404
        async with opened.get("/live") as response:
            assert response.status == 200, "to look needs none"


async def test_a_watcher_gets_five_minutes_and_then_each_beat(door: Client, redis: ArqRedis) -> None:
    seconds, _ = await redis.time()
    for age in (290, 30):
        await hash_of(redis, f"lockstep:events:second:{seconds - age}", "placed", 7)
        await hash_of(redis, f"arq:queue:second:{seconds - age}", "jobs", age)
    async with door.get("/live/events") as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        told = events(response.content)
        name, history = await anext(told)
        assert name == "history"
        assert history[:2] == [[seconds - 289, 7, 290], [seconds - 29, 7, 30]]
        moments = [history[-1][0]]
        for _ in range(2):
            name, content = await anext(told)
            assert name == "beat"
            moments.append(content["at"])
            assert content["points"] == sorted(content["points"])
            assert len(content["points"]) <= 10
        assert moments == sorted(set(moments))


async def test_the_second_who_watches_is_served_at_once(
    door: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await beat(door)
    monkeypatch.setattr("worker.web.watch.BEAT_SECONDS", NEVER)
    await beat(door)  # and now it rests
    async with door.get("/live/events") as response:
        told = events(response.content)
        assert [(await anext(told))[0] for _ in range(2)] == ["history", "beat"]


async def test_too_many_watchers_are_told_to_come_again(
    door: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.watch.MOST_WATCHERS", 1)
    async with door.get("/live/events") as first:
        assert first.status == 200
        for path in ("/live/events", "/live"):
            async with door.get(path) as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) >= 1
                assert "come again" in (await problem(response))["detail"]


async def test_one_who_has_left_makes_room(door: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.web.watch.MOST_WATCHERS", 1)
    async with door.get("/live/events") as first:
        assert first.status == 200

    async def there_is_room() -> bool:
        async with door.get("/live") as response:
            status: int = response.status
        return status == 200

    await until(there_is_room, "the server to notice that nobody listens")


class _LargeBeats:
    """So much in each beat that no buffer of the network holds many of them."""

    async def read(self) -> Beat:
        return Beat([], b"1" * 2**20)


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[tuple[str, int]]:
    """As `lockstep web` serves it; it would wait for its handlers for longer than a test lasts."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=10 * PATIENCE_SECONDS)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0]
    finally:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await runner.cleanup()


async def test_a_watcher_that_does_not_take_its_beats_is_let_go(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SEND_SECONDS", 0.2)
    monkeypatch.setattr("worker.web.watch.BEAT_SECONDS", 0)
    monkeypatch.setattr(live, "Beats", lambda *_: _LargeBeats())
    application = make_application(settings)
    async with served(application) as (host, port):
        with socket.create_connection((host, port)) as silent:
            silent.sendall(b"GET /live/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            watch = application[live.WATCH]

            async def gone() -> bool:
                return watch._left_at > 0 and watch._watchers == 0

            await until(gone, "it to be served, and let go")


async def test_the_stop_of_the_server_is_not_held_up_by_who_watches(settings: Settings) -> None:
    async with ClientSession() as client:
        async with served(make_application(settings)) as (host, port):
            response = await client.get(f"http://{host}:{port}/live/events")
            told = events(response.content)
            assert [(await anext(told))[0] for _ in range(2)] == ["history", "beat"]
        assert {name async for name, _ in told} <= {"beat"}, "it would go on for ever"


async def test_who_asks_a_server_that_stops_is_told_so(settings: Settings) -> None:
    application = make_application(settings)
    async with TestClient(TestServer(application)) as opened:
        application[live.WATCH].end()
        async with opened.get("/live") as response:
            assert response.status == 503
            assert (await problem(response))["detail"] == "this server stops"


async def test_without_redis_it_tells_what_the_database_knows(settings: Settings, database: Database) -> None:
    await open_shop(database, {1: 5})
    application = make_application(settings.model_copy(update={"redis_url": NOBODY}))
    async with TestClient(TestServer(application)) as opened:
        content = await beat(opened)
    assert content["products"] == {"stocked": True, "orders": None, "hottest": None}
    assert content["queue"] is content["workers"] is content["dead_letters"] is None
    assert content["points"] == [[content["at"], None, None]]
    assert content["troubles"] == [
        "Redis does not answer: what is in the queue and what the workers do is not known."
    ]


async def test_without_the_database_it_tells_what_redis_knows(
    settings: Settings, client: OrderClient, pulse: Pulse
) -> None:
    await client.place(an_order({1: 1}))
    nobody = settings.model_copy(update={"mysql_url": "mysql://nobody@127.0.0.1:1/nothing"})
    async with TestClient(TestServer(make_application(nobody))) as opened:
        content = await until_told(opened, lambda told: bool(told["workers"]))
    assert content["queue"]["jobs"] == 1
    assert content["products"] is content["dead_letters"] is None
    assert content["troubles"] == [
        "The database does not answer, or has no tables: what is in it is not known."
    ]


async def test_the_page_needs_nothing_but_itself(door: Client) -> None:
    async with door.get("/") as response:
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        page = await response.text()
    wanted = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(wanted) >= 3
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
    for path in wanted:
        async with door.get(path) as response:
            assert response.status == 200
            text = await response.text()
        assert not re.search(r"(?:from|import|url\()\s*[\"']?(?:https?:)?//", text)


async def test_ids_in_the_page_are_its_own(door: Client) -> None:
    """Each label, and each name that the script looks for, stands for one thing that is there."""
    async with door.get("/") as response:
        page = await response.text()
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert sorted(ids) == sorted(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', page)) <= set(ids)
    async with door.get("/static/live.js") as response:
        script = await response.text()
    named = set(re.findall(r'\b(?:at|put|show|rows)\("([\w-]+)"', script))
    assert len(named) > 20
    assert named <= set(ids)
