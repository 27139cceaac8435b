"""What the wrong sides use: aiomysql as its manual shows it, and a session that makes others deadlock victims."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiomysql
from pymysql import err

from jobs.transaction import Statement, Transaction, load_statements
from tests.asking import Session, until_waiting
from worker.database.retry import DatabaseError
from worker.settings import Settings

DEADLOCK: Final = 1213
LOST_CONNECTION: Final = 2013
LOCKED: Final = (1205, 3572)  # to NOWAIT, by MariaDB and by MySQL
MANY: Final = dict.fromkeys(
    range(1, 200), 5
)  # a stock that makes the session that writes it all the heavier one
MOVE_STOCK: Final = load_statements("orders/stock.sql")["move_stock"]
SESSION_ID: Final = Statement("session_id", "SELECT CONNECTION_ID() AS id")


def options(mysql_url: str) -> dict[str, Any]:
    """How to connect, in autocommit."""
    url = urlsplit(mysql_url)
    return {
        "host": url.hostname,
        "port": url.port or 3306,
        "user": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "db": url.path.strip("/"),
        "autocommit": True,
    }


@asynccontextmanager
async def open_connection(mysql_url: str, **more: Any) -> AsyncIterator[aiomysql.Connection]:
    """One connection."""
    connection = await aiomysql.connect(**options(mysql_url), **more)
    try:
        yield connection
    finally:
        connection.close()


@asynccontextmanager
async def open_pool(mysql_url: str, *, size: int) -> AsyncIterator[aiomysql.Pool]:
    """aiomysql's own pool."""
    pool = await aiomysql.create_pool(minsize=1, maxsize=size, **options(mysql_url))
    try:
        yield pool
    finally:
        pool.terminate()
        await pool.wait_closed()


async def query(connection: aiomysql.Connection, sql: str) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    cursor = await connection.cursor()
    await cursor.execute(sql)
    return list(await cursor.fetchall())


async def take_one(connection: aiomysql.Connection, product_id: int) -> None:
    """A statement of an order."""
    await query(connection, f"UPDATE stock SET available = available - 1 WHERE product_id = {product_id}")


def taking_one(product_id: int) -> dict[str, list[tuple[int, int]]]:
    """The parameters of the same as a production statement."""
    return {"moves": [(product_id, -1)]}


async def take_one_each(transaction: Transaction, *product_ids: int) -> None:
    """The same with production code, a statement a product."""
    for product_id in product_ids:
        await transaction.execute(MOVE_STOCK, taking_one(product_id))


async def session_id(transaction: Transaction) -> int:
    """The server's number of the connection."""
    ((row),) = await transaction.fetch(SESSION_ID, {})
    return int(row["id"])


async def available(session: Session, *product_ids: int) -> list[int]:
    """The stock of each."""
    return [
        int(await session.value(f"SELECT available FROM stock WHERE product_id = {product_id}"))
        for product_id in product_ids
    ]


async def write_all_but_product_1(session: Session) -> None:
    """Be the heavier half of a deadlock with somebody who writes product 1 and then product 2."""
    await session.run("BEGIN")
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id > 1")


async def close_the_cycle(session: Session, asker: Session) -> None:
    """Make whoever waits for `session` the victim, and leave no trace of `session`."""
    await until_waiting(asker, 1)
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id = 1")
    await session.run("ROLLBACK")


def one_connection(settings: Settings) -> Settings:
    """A pool in which the next borrower gets what the last one gave back."""
    return settings.model_copy(update={"mysql_connections": 1})


def conflict() -> DatabaseError:
    """What a deadlock victim sees of production code."""
    return DatabaseError("lock_stock", err.OperationalError(DEADLOCK, "Deadlock found"))


def has_code(*codes: int) -> Callable[[BaseException], bool]:
    """A predicate for tenacity, as one writes it for aiomysql."""
    return lambda error: isinstance(error, err.MySQLError) and error.args[0] in codes


async def code_of(statement: Awaitable[Any]) -> int | None:
    """The server's error, swallowed."""
    try:
        await statement
    except err.MySQLError as error:
        return int(error.args[0])
    return None
