import asyncio

import structlog

from jobs.orders.locks import lock_stock
from jobs.transaction import Transaction
from tests.asking import Session, until, until_waiting
from tests.shop import open_shop
from worker.database.transactions import Database


async def test_a_deadlock_of_a_job_is_explained_in_the_log(
    database: Database, session: Session, other_session: Session
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 200), 5))

    async def work(transaction: Transaction) -> None:
        await lock_stock(transaction, [1, 2])

    await session.run("BEGIN")
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id >= 2")
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(database.transact(work, job="take"))
        await until_waiting(other_session, 1)
        await session.run("UPDATE stock SET available = available + 1 WHERE product_id = 1")
        await session.run("COMMIT")
        await task

        async def explained() -> bool:
            return any(log["event"] == "deadlock" for log in logs)

        await until(explained, "the explanation")
    (line,) = [log for log in logs if log["event"] == "deadlock"]
    assert line["job"] == "take"
    # MariaDB 10.11.18 names the wrong one of the two as its victim, so who it was is not asked here.
    assert "[lock_stock] held X record lock" in line["explanation"].replace("(victim) ", "")
