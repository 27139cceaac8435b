"""transact(): isolation, retries, poison, cancellation, and what goes back to the pool."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from jobs.orders.locks import lock_stock
from jobs.transaction import Statement, Transaction, load_statements
from tests.asking import Session, until, until_gone, until_waiting
from tests.integration.patience import ENDLESS, NEVER
from tests.shop import open_shop
from worker.database.retry import DatabaseError, Kind
from worker.database.transactions import Database
from worker.settings import Settings

pytestmark = pytest.mark.both_isolations
MOVE_STOCK = load_statements("orders/stock.sql")["move_stock"]
READ = Statement("read", "SELECT available FROM stock WHERE product_id = %(product_id)s")
PRODUCTS = Statement("products", "SELECT COUNT(*) AS products FROM products")
SESSION_ID = Statement("session_id", "SELECT CONNECTION_ID() AS id")


def taking_one(product_id: int) -> dict[str, list[tuple[int, int]]]:
    return {"moves": [(product_id, -1)]}


async def available(session: Session, product_id: int) -> int:
    return int(await session.value(f"SELECT available FROM stock WHERE product_id = {product_id}"))


async def session_id(transaction: Transaction) -> int:
    ((row),) = await transaction.fetch(SESSION_ID, {})
    return int(row["id"])


async def prefer_read_committed(database: Database) -> None:
    """What a server may be set to; the pool of one connection keeps it."""
    read_committed = Statement("prefer", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    await database.fetch(read_committed, {})


@pytest.fixture
async def single(settings: Settings) -> AsyncIterator[Database]:
    """A database with one connection."""
    async with Database(settings.model_copy(update={"mysql_connections": 1})) as opened:
        yield opened


async def test_a_transaction_is_repeatable_read_whatever_the_session_prefers(
    single: Database, session: Session
) -> None:
    await open_shop(single, {1: 5})
    await prefer_read_committed(single)
    inside: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def work(transaction: Transaction) -> None:
        await lock_stock(transaction, [1])
        inside.set_result(await session_id(transaction))
        await asked.wait()

    task = asyncio.create_task(single.transact(work, job="test"))
    running = await inside

    async def level() -> str | None:
        rows = await session.run(
            "SELECT trx_isolation_level AS level FROM information_schema.INNODB_TRX"
            f" WHERE trx_mysql_thread_id = {running}"
        )
        return str(rows[0]["level"]) if rows else None

    assert await until(level, "the transaction to be listed") == "REPEATABLE READ"
    asked.set()
    await task


async def test_the_isolation_level_does_not_leak_to_the_next_user_of_the_connection(single: Database) -> None:
    levels = Statement(
        "levels", "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"
    )
    await prefer_read_committed(single)
    await single.transact(session_id, job="test")
    assert {row["Value"] for row in await single.fetch(levels, {})} == {"READ-COMMITTED"}


async def test_a_transaction_that_has_ended_runs_nothing_more(database: Database) -> None:
    kept: list[Transaction] = []

    async def work(transaction: Transaction) -> None:
        kept.append(transaction)

    await database.transact(work, job="test")
    with pytest.raises(RuntimeError, match="the transaction has ended"):
        await session_id(kept[0])


async def test_an_error_of_the_job_rolls_everything_back(database: Database, session: Session) -> None:
    await open_shop(database, {1: 5})

    async def work(transaction: Transaction) -> None:
        await transaction.execute(MOVE_STOCK, taking_one(1))
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await database.transact(work, job="test")
    assert await available(session, 1) == 5


async def test_a_transaction_inside_a_transaction_is_refused(database: Database) -> None:
    async def work(_: Transaction) -> None:
        await database.transact(session_id, job="inner")

    with pytest.raises(RuntimeError, match="inner began a transaction inside that of outer"):
        await database.transact(work, job="outer")


async def test_two_statements_at_once_are_refused(database: Database) -> None:
    async def work(transaction: Transaction) -> None:
        await asyncio.gather(session_id(transaction), session_id(transaction))

    with pytest.raises(RuntimeError, match="session_id began while session_id ran"):
        await database.transact(work, job="test")


async def test_a_swallowed_error_does_not_commit_half_of_the_work(
    database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})

    async def work(transaction: Transaction) -> None:
        await transaction.execute(MOVE_STOCK, taking_one(1))
        with pytest.raises(DatabaseError, match="1064"):
            await transaction.execute(Statement("broken", "UPDATE"), {})

    with pytest.raises(DatabaseError, match="broken: 1064"):
        await database.transact(work, job="test")
    assert await available(session, 1) == 5


async def test_after_an_error_every_statement_is_refused_with_the_same_error(database: Database) -> None:
    async def work(transaction: Transaction) -> None:
        with pytest.raises(DatabaseError):
            await transaction.execute(Statement("broken", "UPDATE"), {})
        await session_id(transaction)

    with pytest.raises(DatabaseError, match="broken: 1064"):
        await database.transact(work, job="test")


async def test_a_deadlock_victim_runs_again_from_its_start(
    database: Database, session: Session, other_session: Session
) -> None:
    """A third session, heavier by what it has written, locks against the order of a real pair of locking reads."""
    await open_shop(database, dict.fromkeys(range(1, 200), 5))
    runs = 0

    async def work(transaction: Transaction) -> int:
        nonlocal runs
        runs += 1
        await lock_stock(transaction, [1, 2])
        return await transaction.execute(MOVE_STOCK, taking_one(1))

    await session.run("BEGIN")
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id >= 2")
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(database.transact(work, job="take"))
        await until_waiting(other_session, 1)
        await session.run(
            "UPDATE stock SET available = available + 1 WHERE product_id = 1"
        )  # closes the cycle
        await session.run("COMMIT")
        assert await task == 1
    assert runs == 2
    assert await available(session, 1) == 5
    (line,) = [log for log in logs if log["event"] == "conflict"]
    assert line["job"] == "take"
    assert line["attempt"] == 1
    assert line["statement"] == "lock_stock"
    assert "1213" in line["error"]
    assert 0 <= line["wait_seconds"] <= 0.5


async def test_a_lock_wait_timeout_gives_up_the_locks_before_the_next_attempt(
    settings: Settings, session: Session
) -> None:
    quick = settings.model_copy(update={"lock_wait_seconds": 1})
    async with Database(quick) as database:
        await open_shop(database, {1: 5, 2: 5})
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
        with structlog.testing.capture_logs() as logs:
            task = asyncio.create_task(
                database.transact(lambda transaction: lock_stock(transaction, [1, 2]), job="test")
            )

            async def conflict() -> bool:
                return any(log["event"] == "conflict" for log in logs)

            await until(conflict, "a lock wait timeout")
            await session.run("COMMIT")
            assert set(await task) == {1, 2}
        assert "1205" in logs[0]["error"]


async def test_a_conflict_that_lasts_is_raised_when_the_time_is_up(
    settings: Settings, session: Session
) -> None:
    hasty = settings.model_copy(update={"lock_wait_seconds": 1, "transaction_seconds": 0.5})
    async with Database(hasty) as database:
        await open_shop(database, {1: 5})
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE")
        with pytest.raises(DatabaseError, match="1205") as raised:
            await database.transact(lambda transaction: lock_stock(transaction, [1]), job="test")
        assert raised.value.kind is Kind.CONFLICT


async def test_a_snapshot_before_the_lock_is_a_conflict_under_snapshot_isolation(
    database: Database, session: Session, snapshot_isolation: str | None
) -> None:
    await open_shop(database, {1: 5})
    runs = 0

    async def work(transaction: Transaction) -> int:
        nonlocal runs
        runs += 1
        await transaction.fetch(READ, {"product_id": 1})
        if runs == 1:
            await session.run("UPDATE stock SET available = 4 WHERE product_id = 1")
        return (await lock_stock(transaction, [1]))[1].available

    assert await database.transact(work, job="test") == 4
    if snapshot_isolation:
        assert runs == {"OFF": 1, "ON": 2}[snapshot_isolation]


async def test_a_table_that_a_migration_has_made_anew_is_a_conflict_for_an_older_snapshot(
    database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    attempts = 0

    async def look(transaction: Transaction) -> int:
        nonlocal attempts
        attempts += 1
        await transaction.fetch(READ, {"product_id": 1})
        if attempts == 1:
            await session.run("ALTER TABLE products FORCE, ALGORITHM = COPY")
        ((row),) = await transaction.fetch(PRODUCTS, {})
        return int(row["products"])

    assert await database.transact(look, job="test") == 1
    assert attempts == 2


async def test_a_cancelled_lock_waiter_leaves_no_session_behind(
    settings: Settings, session: Session, other_session: Session
) -> None:
    """The server by itself would let it wait for longer than this test does."""
    async with Database(settings.model_copy(update=ENDLESS)) as database:
        await open_shop(database, {1: 5, 2: 5})
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
        task = asyncio.create_task(
            database.transact(lambda transaction: lock_stock(transaction, [1, 2]), job="test")
        )
        (zombie,) = await until_waiting(other_session, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_gone(other_session, zombie)
    await other_session.run("BEGIN")
    rows = await other_session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE NOWAIT")
    await other_session.run("ROLLBACK")
    assert len(rows) == 1, "what the cancelled transaction had locked is free"


async def test_cancelling_twice_still_gives_the_connection_back(
    settings: Settings, session: Session, other_session: Session
) -> None:
    async with Database(settings.model_copy(update={"mysql_connections": 1})) as database:
        await open_shop(database, {1: 5})
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE")
        task = asyncio.create_task(
            database.transact(lambda transaction: lock_stock(transaction, [1]), job="test")
        )
        await until_waiting(other_session, 1)
        task.cancel()
        await asyncio.sleep(0)  # into the clean-up, which the second cancellation must not stop
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await session.run("COMMIT")
        assert set(await database.transact(lambda transaction: lock_stock(transaction, [1]), job="test")) == {
            1
        }


async def test_a_statement_without_an_answer_is_an_outage(settings: Settings) -> None:
    hasty = settings.model_copy(update={"statement_seconds": 0.2, "transaction_seconds": 0.3})
    async with Database(hasty) as database:
        with pytest.raises(DatabaseError, match="nap") as raised:
            await database.fetch(Statement("nap", f"SELECT SLEEP({NEVER})"), {})
        assert raised.value.kind is Kind.OUTAGE


async def test_a_killed_connection_is_replaced_and_the_work_run_again(
    database: Database, session: Session
) -> None:
    await open_shop(database, {1: 5})
    runs = 0

    async def work(transaction: Transaction) -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            await session.run(f"KILL {await session_id(transaction)}")
        return await transaction.execute(MOVE_STOCK, taking_one(1))

    assert await database.transact(work, job="test") == 1
    assert runs == 2
    assert await available(session, 1) == 4


async def test_nobody_waits_for_a_connection_for_ever(settings: Settings) -> None:
    async with Database(settings.model_copy(update={"mysql_connections": 1})) as database:
        inside, done = asyncio.Event(), asyncio.Event()

        async def work(_: Transaction) -> None:
            inside.set()
            await done.wait()

        task = asyncio.create_task(database.transact(work, job="long"))
        await inside.wait()
        # Not before: it bounds the time to connect, too.
        database._connections._settings = settings.model_copy(update={"connection_seconds": 0.1})
        with pytest.raises(DatabaseError, match="connect: ") as raised:
            await database.fetch(SESSION_ID, {})
        assert raised.value.kind is Kind.OUTAGE
        done.set()
        await task


async def test_a_waiter_gets_the_connection_of_a_deadlock_victim(settings: Settings) -> None:
    """aiomysql's own pool loses this wake-up and waits for ever."""
    async with Database(settings.model_copy(update={"mysql_connections": 1})) as database:
        inside, fail = asyncio.Event(), asyncio.Event()

        async def failing(transaction: Transaction) -> None:
            await session_id(transaction)
            inside.set()
            await fail.wait()
            await transaction.execute(Statement("broken", "UPDATE"), {})

        task = asyncio.create_task(database.transact(failing, job="failing"))
        await inside.wait()
        waiter = asyncio.create_task(database.fetch(SESSION_ID, {}))
        fail.set()
        with pytest.raises(DatabaseError):
            await task
        assert len(await waiter) == 1


async def test_connections_are_used_again(settings: Settings) -> None:
    async with Database(settings) as database:
        ids = {await database.transact(session_id, job="test") for _ in range(5)}
        assert len(ids) == 1


async def test_a_server_that_does_not_listen_is_an_outage_after_a_few_attempts(settings: Settings) -> None:
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as database:
        with pytest.raises(DatabaseError, match="connect: 2003") as raised:
            await database.transact(session_id, job="test")
        assert raised.value.kind is Kind.OUTAGE
