"""The traps of going on after an error inside a transaction."""

import asyncio

import pytest
import structlog
from pymysql import err
from tenacity import retry, retry_if_exception, stop_after_attempt

from jobs.transaction import Statement, Transaction
from tests.asking import Session
from tests.lab.traps.bare import (
    DEADLOCK,
    MANY,
    available,
    close_the_cycle,
    code_of,
    has_code,
    open_connection,
    query,
    take_one,
    take_one_each,
    write_all_but_product_1,
)
from tests.shop import open_shop
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.settings import Settings

pytestmark = pytest.mark.both_isolations
LOCK_WAIT_TIMEOUT = 1205
NO_SUCH_SAVEPOINT = 1305
SAVEPOINT = Statement("savepoint", "SAVEPOINT part")
ROLLBACK_TO_SAVEPOINT = Statement("rollback_to_savepoint", "ROLLBACK TO SAVEPOINT part")


async def test_commit_after_1205_wrong_half_an_order_is_kept(
    settings: Settings, database: Database, session: Session
) -> None:
    """P53. A lock wait timeout undoes its statement only, so COMMIT keeps the one before."""
    await open_shop(database, {1: 5, 2: 5})
    await session.run("BEGIN")
    await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
    wait = "SET SESSION innodb_lock_wait_timeout = 1"
    async with open_connection(settings.mysql_url, init_command=wait) as connection:
        await query(connection, "BEGIN")
        await take_one(connection, 1)
        assert await code_of(take_one(connection, 2)) == LOCK_WAIT_TIMEOUT
        await connection.commit()
    await session.run("COMMIT")
    assert await available(session, 1, 2) == [4, 5]


async def test_commit_after_1205_right_all_is_rolled_back_and_done_again(
    settings: Settings, session: Session
) -> None:
    """P53. Even a job that swallows the error cannot commit; the whole of it runs again."""
    async with Database(settings.model_copy(update={"lock_wait_seconds": 1})) as database:
        await open_shop(database, {1: 5, 2: 5})
        await session.run("BEGIN")
        await session.run("SELECT * FROM stock WHERE product_id = 2 FOR UPDATE")
        swallowed: asyncio.Queue[int | None] = asyncio.Queue()
        row_is_free = asyncio.Event()

        async def work(transaction: Transaction) -> None:
            await take_one_each(transaction, 1)
            try:
                await take_one_each(transaction, 2)
            except DatabaseError as error:
                swallowed.put_nowait(error.code)
                await row_is_free.wait()

        with structlog.testing.capture_logs() as logs:
            task = asyncio.create_task(database.transact(work, job="test"))
            assert await swallowed.get() == LOCK_WAIT_TIMEOUT
            await session.run("COMMIT")
            row_is_free.set()
            await task
        assert [log["event"] for log in logs] == ["conflict"]
    assert await available(session, 1, 2) == [4, 4]


async def test_swallowed_deadlock_wrong_only_what_came_after_it_is_kept(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """P54. The server has rolled back; what follows is in no transaction at all."""
    await open_shop(database, MANY)
    await write_all_but_product_1(session)
    async with open_connection(settings.mysql_url) as connection:

        async def order() -> None:
            await query(connection, "BEGIN")
            await take_one(connection, 1)
            assert await code_of(take_one(connection, 2)) == DEADLOCK
            await take_one(connection, 3)
            await connection.commit()

        task = asyncio.create_task(order())
        await close_the_cycle(session, other_session)
        await task
    assert await available(session, 1, 2, 3) == [5, 5, 4]


async def test_swallowed_deadlock_right_the_commit_is_refused_and_all_is_done_again(
    database: Database, session: Session, other_session: Session
) -> None:
    """P54. After an error every statement is refused, COMMIT as well."""
    await open_shop(database, MANY)
    await write_all_but_product_1(session)
    swallowed: list[int | None] = []

    async def order(transaction: Transaction) -> None:
        await take_one_each(transaction, 1)
        for product_id in (2, 3):
            try:
                await take_one_each(transaction, product_id)
            except DatabaseError as error:
                swallowed.append(error.code)

    task = asyncio.create_task(database.transact(order, job="test"))
    await close_the_cycle(session, other_session)
    await task
    assert swallowed == [DEADLOCK, DEADLOCK], "the statement after the deadlock was refused"
    assert await available(session, 1, 2, 3) == [4, 4, 4]


async def test_masked_deadlock_wrong_the_savepoints_error_is_not_tried_again(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """P55. The savepoint went with the transaction: what the retry sees is 1305, not 1213."""
    await open_shop(database, MANY)
    await write_all_but_product_1(session)
    attempts = 0

    @retry(retry=retry_if_exception(has_code(DEADLOCK)), stop=stop_after_attempt(5), reraise=True)
    async def order() -> None:
        nonlocal attempts
        attempts += 1
        async with open_connection(settings.mysql_url) as connection:
            await query(connection, "BEGIN")
            await take_one(connection, 1)
            await query(connection, "SAVEPOINT part")
            try:
                await take_one(connection, 2)
            except err.MySQLError:
                await query(connection, "ROLLBACK TO SAVEPOINT part")
                raise
            await connection.commit()

    task = asyncio.create_task(order())
    await close_the_cycle(session, other_session)
    assert await code_of(task) == NO_SUCH_SAVEPOINT
    assert attempts == 1
    assert await available(session, 1, 2) == [5, 5], "an order that a second attempt would have placed"


async def test_masked_deadlock_right_the_first_error_is_the_one_that_counts(
    database: Database, session: Session, other_session: Session
) -> None:
    """P55. The rollback to the savepoint is refused with the deadlock itself."""
    await open_shop(database, MANY)
    await write_all_but_product_1(session)
    masks: list[int | None] = []

    async def order(transaction: Transaction) -> None:
        await take_one_each(transaction, 1)
        await transaction.execute(SAVEPOINT, {})
        try:
            await take_one_each(transaction, 2)
        except DatabaseError:
            try:
                await transaction.execute(ROLLBACK_TO_SAVEPOINT, {})
            except DatabaseError as error:
                masks.append(error.code)
                raise

    task = asyncio.create_task(database.transact(order, job="test"))
    await close_the_cycle(session, other_session)
    await task
    assert masks == [DEADLOCK]
    assert await available(session, 1, 2) == [4, 4]


async def test_statement_retry_wrong_only_the_last_statement_is_done_again(
    settings: Settings, database: Database, session: Session, other_session: Session
) -> None:
    """P56. The victim's earlier statements are gone, and nobody repeats them."""
    await open_shop(database, MANY)
    await write_all_but_product_1(session)
    again = retry(retry=retry_if_exception(has_code(DEADLOCK)), stop=stop_after_attempt(5), reraise=True)
    async with open_connection(settings.mysql_url) as connection:

        async def order() -> None:
            await query(connection, "BEGIN")
            await again(take_one)(connection, 1)
            await again(take_one)(connection, 2)
            await connection.commit()

        task = asyncio.create_task(order())
        await close_the_cycle(session, other_session)
        await task
    assert await available(session, 1, 2) == [5, 4]


async def test_statement_retry_right_the_whole_transaction_is_done_again(
    database: Database, session: Session, other_session: Session
) -> None:
    """P56. Only `transact` tries again, and it begins at the beginning."""
    await open_shop(database, MANY)
    await write_all_but_product_1(session)
    statements: list[int] = []

    async def order(transaction: Transaction) -> None:
        for product_id in (1, 2):
            statements.append(product_id)
            await take_one_each(transaction, product_id)

    task = asyncio.create_task(database.transact(order, job="test"))
    await close_the_cycle(session, other_session)
    await task
    assert statements == [1, 2, 1, 2]
    assert await available(session, 1, 2) == [4, 4]
