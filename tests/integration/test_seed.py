"""A history that is made by the server itself."""

import pytest

from benchmarks.seed import PATIENT, order_id_of, seed
from tests.asking import Session, owner_url
from tests.shop import broken_invariants
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.settings import Settings

ORDERS = 2_300  # more than one pass of 2,000 baskets
COUNTS = {"orders": ORDERS, "outbox": 0}


async def test_a_seeded_history_passes_the_audit(settings: Settings, session: Session) -> None:
    seen: list[int] = []
    async with Database(
        settings.model_copy(update={**PATIENT, "mysql_url": owner_url(settings)})
    ) as database:
        await seed(database, ORDERS, 2, seen.append)
        with pytest.raises(LockstepError, match="there are orders in this database already"):
            await seed(database, ORDERS, 2, seen.append)
        assert not await broken_invariants(database)
    assert seen == [2_000, ORDERS]
    assert {table: await session.value(f"SELECT COUNT(*) FROM {table}") for table in COUNTS} == COUNTS
    assert await session.value("SELECT COUNT(*) FROM order_lines") > 1.5 * ORDERS
    assert await session.value("SELECT COUNT(DISTINCT status) FROM orders") == 4
    ids = await session.run("SELECT LOWER(HEX(order_id)) AS id FROM orders ORDER BY placed_at")
    assert [row["id"] for row in ids] == [order_id_of(number) for number in range(ORDERS)]
