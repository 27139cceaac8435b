"""The traps of one connection in the hands of several tasks."""

import asyncio
from contextvars import ContextVar

import aiomysql
import pytest

from jobs.transaction import Statement, Transaction
from tests.asking import Session
from tests.lab.traps.bare import (
    MOVE_STOCK,
    available,
    one_connection,
    open_connection,
    open_pool,
    query,
    session_id,
    take_one,
    take_one_each,
    taking_one,
)
from tests.shop import open_shop
from worker.database.transactions import Database
from worker.settings import Settings


async def test_shared_connection_wrong_two_of_three_queries_fail(settings: Settings) -> None:
    """Q04. A connection carries one statement at a time, and aiomysql does not look after that."""
    async with open_connection(settings.mysql_url) as connection:
        results = await asyncio.gather(
            *(query(connection, f"SELECT {number}") for number in range(3)), return_exceptions=True
        )
        errors = [result for result in results if isinstance(result, RuntimeError)]
        assert len(errors) == 2
        assert all("while another coroutine is already waiting" in str(error) for error in errors)


async def test_shared_connection_right_each_query_has_its_own(database: Database) -> None:
    """Q04. Outside of a transaction every read borrows a connection; inside, two at once are refused in words."""
    numbers = [Statement("number", f"SELECT {number} AS number") for number in range(3)]
    rows = await asyncio.gather(*(database.fetch(number, {}) for number in numbers))
    assert [row["number"] for (row,) in rows] == [0, 1, 2]

    async def work(transaction: Transaction) -> None:
        await asyncio.gather(*(transaction.fetch(number, {}) for number in numbers))

    with pytest.raises(RuntimeError, match="a connection does one thing at a time"):
        await database.transact(work, job="test")


async def test_gather_in_a_transaction_wrong_the_parts_survive_the_rollback(
    settings: Settings, database: Database, session: Session
) -> None:
    """Q05. Each part borrows a connection, so none of them is in the transaction."""
    await open_shop(database, {1: 5, 2: 5})
    async with open_pool(settings.mysql_url, size=3) as pool:

        async def part(product_id: int) -> None:
            async with pool.acquire() as connection:
                await take_one(connection, product_id)

        async with pool.acquire() as connection:
            await query(connection, "BEGIN")
            await asyncio.gather(part(1), part(2))
            await connection.rollback()
    assert await available(session, 1, 2) == [4, 4]


async def test_gather_in_a_transaction_right_the_parts_come_one_after_the_other(
    database: Database, session: Session
) -> None:
    """Q05. A job has one transaction and no pool: gather is refused, and the parts roll back together."""
    await open_shop(database, {1: 5, 2: 5})

    async def at_once(transaction: Transaction) -> None:
        await asyncio.gather(take_one_each(transaction, 1), take_one_each(transaction, 2))

    async def in_turn(transaction: Transaction) -> None:
        await take_one_each(transaction, 1, 2)
        raise KeyError("rolled back")

    with pytest.raises(RuntimeError, match="move_stock began while move_stock ran"):
        await database.transact(at_once, job="test")
    with pytest.raises(KeyError):
        await database.transact(in_turn, job="test")
    assert await available(session, 1, 2) == [5, 5]


async def test_gather_without_a_group_wrong_a_sibling_writes_into_the_next_transaction(
    settings: Settings, database: Database, session: Session
) -> None:
    """Q11. The first error leaves the block and gives the connection back; the other task still has it."""
    await open_shop(database, {1: 5})
    async with open_pool(settings.mysql_url, size=1) as pool:
        go_on = asyncio.Event()

        async def sibling(connection: aiomysql.Connection) -> None:
            await go_on.wait()
            await take_one(connection, 1)

        async def fail() -> None:
            raise KeyError("the first error")

        late: list[asyncio.Task[None]] = []

        async def job() -> None:
            async with pool.acquire() as connection:
                late.append(asyncio.create_task(sibling(connection)))
                await asyncio.gather(fail(), *late)

        with pytest.raises(KeyError):
            await job()
        async with pool.acquire() as connection:
            await query(connection, "BEGIN")
            go_on.set()
            await late[0]  # it succeeds
            await connection.rollback()
    assert await available(session, 1) == [5], "what succeeded went away with somebody else's transaction"


async def test_gather_without_a_group_right_a_group_ends_the_sibling_first(settings: Settings) -> None:
    """Q11. TaskGroup leaves nobody behind who could use the connection after its transaction."""
    async with Database(one_connection(settings)) as database:
        siblings: list[asyncio.Task[None]] = []

        async def sibling(transaction: Transaction) -> None:
            await asyncio.Event().wait()
            await take_one_each(transaction, 1)

        async def work(transaction: Transaction) -> None:
            async with asyncio.TaskGroup() as group:
                siblings.append(group.create_task(sibling(transaction)))
                raise KeyError("the first error")

        with pytest.raises(ExceptionGroup):
            await database.transact(work, job="test")
        assert siblings[0].cancelled()
        assert await database.transact(session_id, job="test"), "the connection is free"


async def test_inherited_context_wrong_a_child_writes_on_its_parents_connection(
    settings: Settings, database: Database, session: Session
) -> None:
    """Q12. A task copies the context, and with it "the current connection", whoever has that by now."""
    await open_shop(database, {1: 5})
    current: ContextVar[aiomysql.Connection] = ContextVar("current")
    async with open_pool(settings.mysql_url, size=1) as pool:
        go_on = asyncio.Event()

        async def child() -> None:
            await go_on.wait()
            await take_one(current.get(), 1)

        async with pool.acquire() as connection:
            await query(connection, "BEGIN")
            current.set(connection)
            task = asyncio.create_task(child())
            await connection.commit()
        async with pool.acquire() as connection:
            await query(connection, "BEGIN")
            go_on.set()
            await task  # it succeeds
            await connection.rollback()
    assert await available(session, 1) == [5], "what succeeded went away with somebody else's transaction"


async def test_inherited_context_right_a_child_gets_no_connection_by_its_context(
    database: Database, session: Session
) -> None:
    """Q12. What is inherited is only "a transaction is open", and that refuses."""
    await open_shop(database, {1: 5})

    async def take(transaction: Transaction) -> None:
        await transaction.execute(MOVE_STOCK, taking_one(1))

    async def work(_: Transaction) -> None:
        child = asyncio.create_task(database.transact(take, job="child"))
        with pytest.raises(RuntimeError, match="child began a transaction inside that of parent"):
            await child

    await database.transact(work, job="parent")
    assert await available(session, 1) == [5]
    await database.transact(take, job="child")
    assert await available(session, 1) == [4]
