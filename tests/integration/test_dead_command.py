"""`lockstep dead`, as a person runs it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from click.testing import CliRunner, Result

from tests.asking import Session
from tests.integration.conftest import MakeWorker, running
from tests.integration.patience import ENVIRONMENT
from tests.shop import an_order, broken_invariants, open_shop
from worker import cli
from worker.client import OrderClient
from worker.commands import dead
from worker.database.transactions import Database
from worker.settings import Settings

Lockstep = Callable[..., Awaitable[Result]]
MENDED: Final = "UPDATE customers SET balance_cents = 0 WHERE customer_id = 9"
POISON: Final = "UPDATE customers SET balance_cents = 18446744073709551615 WHERE customer_id = 9"


@pytest.fixture
def lockstep(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lockstep:
    """Run a command; its result."""
    monkeypatch.setenv("LOCKSTEP_MYSQL_URL", settings.mysql_url)
    monkeypatch.setenv("LOCKSTEP_REDIS_URL", settings.redis_url)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli.main, arguments)

    return run


async def test_without_a_letter_it_says_so(lockstep: Lockstep) -> None:
    listed = await lockstep("dead", "list")
    assert (listed.exit_code, listed.output) == (0, "there are no dead letters\n")
    assert json.loads((await lockstep("dead", "list", "--json")).output) == []
    replayed = await lockstep("dead", "replay", "--all")
    assert (replayed.exit_code, replayed.output) == (0, "0 replayed, 0 dead again\n")
    for command in ("show", "drop", "replay"):
        missing = await lockstep("dead", command, "order\x1b[2J")
        assert missing.exit_code == 1
        assert "there is no dead letter of order?[2J; `lockstep dead list` shows" in missing.output
    for arguments in ([], ["order", "--all"]):
        assert "name a job id, or give --all." in (await lockstep("dead", "replay", *arguments)).output


async def test_the_life_of_a_dead_letter(
    lockstep: Lockstep,
    settings: Settings,
    database: Database,
    make_worker: MakeWorker,
    redis: ArqRedis,
    session: Session,
) -> None:
    await open_shop(database, {1: 5})
    await session.run(POISON)
    order = an_order({1: 1}, customer_id=9)
    order_id = str(order.order_id)
    strange = "strange\x1b[2J"
    await redis.set(job_key_prefix + strange, b"\xc1")
    await redis.zadd("arq:queue", {strange: 1})
    async with OrderClient.connect(settings.redis_url) as client:
        await client.place(order)
        await make_worker(database).main()

    listed = await lockstep("dead", "list", "--limit", "1")
    assert "2 dead letters, 1 shown" in listed.output
    listed = await lockstep("dead", "list")
    assert "2 dead letters\n" in listed.output
    assert "strange?[2J" in listed.output
    assert "\x1b" not in listed.output
    rows = {row["job_id"]: row for row in json.loads((await lockstep("dead", "list", "--json")).output)}
    assert rows.keys() == {order_id, strange}
    assert rows[order_id]["tries"] == 1
    shown = (await lockstep("dead", "show", order_id)).output
    assert "move_balances: 1690" in shown
    assert '"customer_id": 9' in shown
    (letter,) = json.loads((await lockstep("dead", "show", order_id, "--json")).output)
    assert letter["request"]["order_id"] == order_id
    outcome = json.loads((await lockstep("outcome", order_id)).output)
    assert (outcome["status"], outcome["job_id"]) == ("dead", order_id)
    assert "1690" in outcome["error"]
    await session.run(MENDED)
    assert "2 dead letters wait for somebody: `lockstep dead list`" in (await lockstep("audit")).output

    async with running(make_worker(database, burst=False)):
        replayed = await lockstep("dead", "replay", order_id)
        assert replayed.exit_code == 0, replayed.output
        assert f"{order_id}: " in replayed.output
        assert "1 replayed, 0 dead again" in replayed.output
        again = await lockstep("dead", "replay", "--all")
        assert again.exit_code == 1
        assert "0 replayed, 1 dead again" in again.output
    assert json.loads((await lockstep("outcome", order_id)).output)["status"] == "placed"
    dropped = await lockstep("dead", "drop", strange)
    assert dropped.exit_code == 0
    assert json.loads(dropped.output.removeprefix("dropped: "))["request"] == "wQ=="
    assert (await lockstep("dead", "list")).output == "there are no dead letters\n"
    assert not await broken_invariants(database)


async def test_a_replay_without_a_worker_keeps_the_letter(
    lockstep: Lockstep,
    database: Database,
    make_worker: MakeWorker,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead, "OUTCOME_SECONDS", 0.2)
    await redis.set(job_key_prefix + "strange", b"\xc1")
    await redis.zadd("arq:queue", {"strange": 1})
    await make_worker(database).main()
    replayed = await lockstep("dead", "replay", "--all")
    assert replayed.exit_code == 1
    assert (
        "unreadable strange has no outcome after 0.2 s and stays queued, and its letter is kept"
        in replayed.output
    )
    assert "1 dead letters" in (await lockstep("dead", "list")).output
