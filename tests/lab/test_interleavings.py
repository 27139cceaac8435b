"""The real jobs under every interleaving of their statements: a clean audit, a serial result, and no deadlock."""

from collections.abc import Sequence
from functools import partial
from itertools import permutations
from typing import Any, Final
from uuid import UUID

import pytest
import structlog

from jobs.intake import stage
from jobs.locks import lock_staged
from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.known_orders import KnownOrder, find_placed_order
from jobs.orders.purge_orders import purge_orders
from jobs.orders.requests import PlaceOrder, Restock
from jobs.orders.ship_order import ship_order
from jobs.sweep_intake import sweep_intake
from tests.asking import Session
from tests.lab.interleaving import Asking, Job, OutOfOrder, Played, RowByRow, play, play_all, play_some
from tests.lab.server import Server
from tests.shop import PRICE_CENTS, an_order, broken_invariants, open_shop
from tests.suite.deadline import is_over, leave_out
from tests.suite.sample import COMPLETE, SEED, size
from worker.database.transactions import Database, Isolation
from worker.queue.idempotency import place_once, restock_once

pytestmark = [pytest.mark.both_isolations, pytest.mark.sampled(2, inside=True)]
SAMPLE: Final = size(4, 15)  # of those that are left to chance
MOST: Final = 2_000
TABLES: Final = (
    "intake", "purged_sales", "purged_totals", "outbox", "published_events", "restocks", "order_lines", "orders", "stock",
    "products", "customers",
)  # fmt: skip
SHIPPED_BEFORE: Final = an_order({1: 1, 2: 1}, customer_id=1, order_id=UUID(int=98))
PLACED_BEFORE: Final = an_order({1: 1, 2: 1}, customer_id=3, order_id=UUID(int=99))


def place(*orders: PlaceOrder, asking: type[Asking] = Asking) -> Job:
    async def run(database: Database) -> list[str]:
        return [outcome.status for outcome in await place_once(database, orders, job="place_orders")]

    return Job(run, asking)


def cancel(order_id: UUID, asking: type[Asking] = Asking) -> Job:
    async def run(database: Database) -> str:
        taken = await read_taken(database, order_id)
        if not isinstance(taken, Taken):
            return taken.status
        outcome = await database.transact(partial(cancel_order, taken=taken), job="cancel_order")
        return outcome.status

    return Job(run, asking)


def refill(product_id: int, number: int, asking: type[Asking] = Asking) -> Job:
    async def run(database: Database) -> str:
        request = Restock(restock_id=UUID(int=number), product_id=product_id, quantity=2)
        return (await restock_once(database, request)).status

    return Job(run, asking)


def purge(*order_ids: UUID) -> Job:
    async def run(database: Database) -> int:
        work = partial(purge_orders, order_ids=order_ids)
        return (await database.transact(work, job="purge_orders")).orders

    return Job(run)


def sweep() -> Job:
    async def run(database: Database) -> list[PlaceOrder]:
        take = partial(lock_staged, size=10)
        work = partial(
            sweep_intake, take=take, read=lambda _, request: PlaceOrder.model_validate_json(request)
        )
        swept = await database.transact(work, job="sweep_intake", isolation=Isolation.READ_COMMITTED)
        return swept.orders

    return Job(run)


def order(number: int, lines: dict[int, int], customer_id: int = 1) -> PlaceOrder:
    return an_order(lines, customer_id, UUID(int=number))


CROSSING: Final = (order(1, {1: 1, 2: 2}, 1), order(2, {2: 2, 1: 1}, 2))
STAGED: Final = (order(8, {2: 1}, 3), order(9, {1: 1}, 3))
NEWER: Final = order(100, {1: 1, 2: 2})
JOBS: Final[dict[str, Sequence[Job]]] = {
    "place, place": [place(each, asking=RowByRow) for each in CROSSING],
    "place, place for one customer": [place(order(1, {1: 1})), place(order(2, {2: 1}))],
    "place, cancel": [place(CROSSING[0], asking=RowByRow), cancel(PLACED_BEFORE.order_id, RowByRow)],
    "place, restock": [place(CROSSING[0], asking=RowByRow), refill(2, 7)],
    "cancel, cancel": [cancel(PLACED_BEFORE.order_id), cancel(PLACED_BEFORE.order_id)],
    "duplicate, duplicate": [place(CROSSING[0]), place(CROSSING[0])],
    "other content under one id": [place(CROSSING[0]), place(order(1, {2: 1}, 2))],
    "batch, batch": [
        place(*CROSSING, asking=RowByRow),
        place(order(3, {2: 1}, 2), order(4, {1: 1}, 1), asking=RowByRow),
    ],
    "batches that share an order": [place(*CROSSING), place(CROSSING[1], order(4, {1: 1}, 1))],
    "place, place, cancel": [*(place(each) for each in CROSSING), cancel(PLACED_BEFORE.order_id)],
    "purge, place": [purge(SHIPPED_BEFORE.order_id), place(NEWER, asking=RowByRow)],
    "purge, place into its gap": [purge(SHIPPED_BEFORE.order_id), place(CROSSING[0], asking=RowByRow)],
    "purge, cancel": [purge(SHIPPED_BEFORE.order_id), cancel(SHIPPED_BEFORE.order_id)],
    "purge, purge": [purge(SHIPPED_BEFORE.order_id), purge(SHIPPED_BEFORE.order_id, PLACED_BEFORE.order_id)],
    "purge, place, cancel": [purge(SHIPPED_BEFORE.order_id), place(NEWER), cancel(PLACED_BEFORE.order_id)],
    "sweep, place": [sweep(), place(*STAGED)],
    "sweep, sweep": [sweep(), sweep()],
    "sweep, duplicate, duplicate": [sweep(), place(STAGED[0]), place(STAGED[0])],
    "place, cancel, restock": [place(CROSSING[0]), cancel(PLACED_BEFORE.order_id), refill(2, 7)],
}
# Who waits in a gap depends on rows of the interleaving before, which the server removes in its own time: no list
# of choices can be followed twice.
LEFT_TO_CHANCE: Final = {"purge, place into its gap"}


class Shop:
    """The same small shop before each interleaving, and the questions after it."""

    def __init__(self, database: Database, session: Session) -> None:
        self.database = database
        self._session = session
        self.serial: list[dict[str, Any]] = []

    async def reset(self) -> None:
        for sql in ("BEGIN", *(f"DELETE FROM {table}" for table in TABLES), "COMMIT"):
            await self._session.run(sql)
        await open_shop(self.database, {1: 4, 2: 5}, limits={1: 6 * PRICE_CENTS})
        await place_once(self.database, [SHIPPED_BEFORE, PLACED_BEFORE], job="place_orders")
        shipped = await find_placed_order(self.database, SHIPPED_BEFORE.order_id)
        assert isinstance(shipped, KnownOrder)
        await self.database.transact(partial(ship_order, order=shipped), job="ship_order")
        await self._session.run(*stage(STAGED))

    async def look(self, outcomes: Sequence[Any]) -> dict[str, Any]:
        """Everything that a serial order of the jobs would fix."""
        return {
            "outcomes": list(outcomes),
            "stock": await self._session.run("SELECT product_id, available FROM stock ORDER BY product_id"),
            "balances": await self._session.run(
                "SELECT customer_id, balance_cents FROM customers ORDER BY customer_id"
            ),
            "orders": await self._session.run(
                "SELECT HEX(order_id) AS id, customer_id, status, total_cents FROM orders ORDER BY order_id"
            ),
            # One that has its outcome, and was held by a sweep meanwhile, ends with the next.
            "staged": await self._session.run(
                "SELECT HEX(order_id) AS id, enqueued_at IS NULL AS is_new FROM intake"
                " WHERE order_id NOT IN (SELECT order_id FROM orders) ORDER BY order_id"
            ),
        }

    async def play_serially(self, jobs: Sequence[Job]) -> None:
        """What each order of the whole jobs comes to."""
        for numbers in permutations(range(len(jobs))):
            await self.reset()
            outcomes = {number: await jobs[number].run(self.database) for number in numbers}
            self.serial.append(await self.look([outcomes[number] for number in range(len(jobs))]))

    async def check(self, played: Played) -> None:
        choices = [chosen for _, chosen in played.points]
        assert not await broken_invariants(self.database), choices
        assert await self.look(played.outcomes) in self.serial, choices


@pytest.mark.timeout(size(600, 3600))
@pytest.mark.parametrize("name", JOBS)
async def test_jobs_that_keep_the_lock_order_never_deadlock(
    name: str,
    database: Database,
    session: Session,
    server: Server,
    record_property: Any,
    request: pytest.FixtureRequest,
) -> None:
    shop = Shop(database, session)
    await shop.play_serially(JOBS[name])
    with structlog.testing.capture_logs() as logs:
        if COMPLETE and name not in LEFT_TO_CHANCE:
            count = await play_all(
                server, database, JOBS[name], shop.reset, shop.check, most=MOST, is_over=is_over
            )
            if is_over():
                leave_out(request.node.nodeid)
        else:
            count = await play_some(
                server, database, JOBS[name], shop.reset, shop.check, seed=SEED, count=SAMPLE
            )
    record_property("interleavings", count)
    print(f"{name}: {count} interleavings")  # noqa: T201  # what a complete run amounts to
    assert [log for log in logs if log["event"] == "conflict"] == []


@pytest.mark.timeout(size(600, 3600))
async def test_jobs_that_break_the_lock_order_deadlock_and_recover(
    database: Database, session: Session, server: Server
) -> None:
    jobs = [place(CROSSING[0], asking=RowByRow), place(CROSSING[1], asking=OutOfOrder)]
    shop = Shop(database, session)
    await shop.play_serially(jobs)
    with structlog.testing.capture_logs() as logs:
        await shop.reset()
        await shop.check(
            await play(server, database, jobs, lambda at, able: able[at % len(able)])
        )  # by turns
        await play_some(server, database, jobs, shop.reset, shop.check, seed=SEED, count=SAMPLE)
    deadlocks = [log for log in logs if log["event"] == "conflict" and "1213" in log["error"]]
    assert deadlocks
    assert {log["statement"] for log in deadlocks} == {"lock_stock"}
