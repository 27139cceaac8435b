"""The traps of what a borrower leaves in a connection."""

import aiomysql
import pytest

from jobs.transaction import SQL, Statement, load_statements
from tests.asking import owner_url
from tests.lab.traps.bare import (
    SESSION_ID,
    one_connection,
    open_pool,
    query,
)
from worker.database.transactions import Database
from worker.settings import Settings

NUMBERS = (
    "WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 900)"
    " SELECT n FROM numbers"
)
LEFT_BEHIND = (
    "SELECT @customer, @@autocommit, IS_USED_LOCK('till') = CONNECTION_ID(), (SELECT count(*) FROM basket)"
)


async def test_session_state_wrong_the_next_borrower_inherits_it(settings: Settings) -> None:
    """Q07. A variable, autocommit = 0, a user lock and a temporary table outlive their borrower."""
    async with open_pool(owner_url(settings), size=1) as pool:
        async with pool.acquire() as connection:
            await query(connection, "SELECT GET_LOCK('till', 0)")
            await query(connection, "CREATE TEMPORARY TABLE basket (product_id INT)")
            await query(connection, "SET @customer = 7, autocommit = 0")
        async with pool.acquire() as connection:
            assert await query(connection, LEFT_BEHIND) == [(7, 0, 1, 0)]


async def test_session_state_right_no_statement_of_ours_leaves_any(settings: Settings) -> None:
    """Q07. The level holds for one transaction, and no statement of sql/ touches the session."""
    state = Statement(
        "state",
        "SHOW SESSION VARIABLES WHERE Variable_name IN"
        " ('tx_isolation', 'transaction_isolation', 'autocommit', 'sql_mode', 'time_zone')",
    )
    async with Database(one_connection(settings)) as database:
        before = await database.fetch(state, {})
        inside = await database.transact(lambda transaction: transaction.fetch(SESSION_ID, {}), job="test")
        assert await database.fetch(SESSION_ID, {}) == inside, "the same connection"
        assert await database.fetch(state, {}) == before
    for file in SQL.rglob("*.sql"):
        for statement in load_statements(str(file)).values():
            words = statement.text.upper()
            assert words.split()[0] in {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "SHOW"}
            assert not any(word in words for word in ("GET_LOCK", ":=", " INTO @", "TEMPORARY"))


async def test_unread_result_wrong_the_next_borrower_reads_it_to_its_end(settings: Settings) -> None:
    """Q16. An unbuffered cursor that was left half-read goes back to the pool with its rows."""
    async with open_pool(owner_url(settings), size=1) as pool:
        async with pool.acquire() as connection:
            cursor = await connection.cursor(aiomysql.SSCursor)
            await cursor.execute(NUMBERS)
            assert await cursor.fetchone() == (1,)
        async with pool.acquire() as connection:
            with pytest.warns(UserWarning, match="Previous unbuffered result was left incomplete"):
                await query(connection, "SELECT 1")


async def test_unread_result_right_a_connection_goes_back_with_nothing_unread(settings: Settings) -> None:
    """Q16. Rows are read whole, all result sets too, before anybody else gets the connection."""
    async with Database(one_connection(settings)) as database:
        (before,) = await database.fetch(SESSION_ID, {})
        assert (await database.fetch(Statement("numbers", NUMBERS), {}))[0]["n"] == 1
        await database.fetch(Statement("two", f"{NUMBERS}; {NUMBERS}"), {})
        assert await database.fetch(SESSION_ID, {}) == [before]
