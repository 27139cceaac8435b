"""What group commit is given to do with orders; transactions are recorded, not made."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import pytest

from jobs.orders.place_orders import find_free
from jobs.orders.requests import PlaceOrder
from tests.shop import an_order
from worker.database.transactions import Database
from worker.queue import placing as module
from worker.queue import wire
from worker.queue.placing import Placing

BATCH_SECONDS = 1.5


class Transactions:
    """Stands in for the database."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, dict[str, Any]]] = []

    async def transact(self, work: Any, **options: Any) -> list[bool]:
        self.made.append((work, options))
        return [True]

    async def place_once(
        self, database: Database, orders: Sequence[PlaceOrder], **options: Any
    ) -> list[PlaceOrder]:
        assert cast("Any", database) is self
        self.made.append((orders, options))
        return [*orders]


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> Transactions:
    recorded = Transactions()
    monkeypatch.setattr(module, "place_once", recorded.place_once)
    return recorded


@pytest.fixture
def placing(transactions: Transactions) -> Placing:
    return Placing(cast("Database", transactions), batch_seconds=BATCH_SECONDS)


def test_an_order_is_known_by_its_id_and_weighs_its_lines(placing: Placing) -> None:
    order = an_order({1: 1, 2: 5, 3: 1})
    assert placing.key(order) == order.order_id
    assert placing.weight(order) == 3
    assert placing.most_weight == wire.MAX_BATCH_LINES


@pytest.mark.parametrize("count", [1, 2])
async def test_a_batch_gives_up_early_since_others_wait_behind_it(
    count: int, placing: Placing, transactions: Transactions
) -> None:
    """An order alone, too: on a row that another transaction holds it would keep all others waiting."""
    orders = [an_order({1: 1}) for _ in range(count)]
    traceparents = {orders[0].order_id: "a trace"}
    outcomes: Sequence[Any] = await placing.run(orders, traceparents)
    assert outcomes == orders
    options = {
        "job": wire.PLACE_ORDERS,
        "attempts_seconds": BATCH_SECONDS,
        "traceparents": traceparents,
    }
    assert transactions.made == [(orders, options)]


async def test_the_look_for_free_rows_gives_up_as_early(placing: Placing, transactions: Transactions) -> None:
    orders = [an_order({1: 1})]
    assert await placing.find_free(orders) == [True]
    ((work, options),) = transactions.made
    assert isinstance(work, partial)
    assert (work.func, work.keywords) == (find_free, {"orders": orders})
    assert options == {"job": "find_free", "attempts_seconds": BATCH_SECONDS}
