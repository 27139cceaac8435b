"""Which orders share a transaction, and who is told what became of them; transactions are recorded, not made."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymysql import err

from jobs.orders import MAX_LINES, MAX_ORDERS, Placed, PlaceOrder, PlaceOutcome
from tests.shop import an_order
from worker.database.retry import DatabaseError, Kind
from worker.database.transactions import Database
from worker.queue import group_commit as module
from worker.queue import wire
from worker.queue.group_commit import IN_FLIGHT, MAX_BATCH, MAX_SHARE, GroupCommit, _pages, _Share

NO_DATABASE = cast("Database", None)  # its transactions are recorded
BATCH_SECONDS = 1.5


class Transactions:
    """Stands in for the database: each waits until it is let go, and fails where it holds a broken order."""

    def __init__(self) -> None:
        self.batches: list[list[PlaceOrder]] = []
        self.seconds: list[float | None] = []
        self.running = self.most_at_a_time = 0
        self.go = asyncio.Event()
        self.broken: dict[UUID, Exception] = {}

    async def place_once(
        self,
        database: Database,
        orders: Sequence[PlaceOrder],
        *,
        job: str,
        attempts_seconds: float | None,
        traceparents: Mapping[UUID, str],
    ) -> list[PlaceOutcome]:
        assert database is NO_DATABASE
        assert job == wire.PLACE_ORDERS
        assert traceparents == {}
        self.batches.append(list(orders))
        self.seconds.append(attempts_seconds)
        self.running += 1
        self.most_at_a_time = max(self.most_at_a_time, self.running)
        await self.go.wait()
        await asyncio.sleep(0)  # as long as the shortest round trip
        self.running -= 1
        for order in orders:
            if error := self.broken.get(order.order_id):
                raise error
        return [placed(order) for order in orders]

    def holding(self, order: PlaceOrder) -> int:
        """How many transactions have held this order."""
        return sum(order in batch for batch in self.batches)


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> Transactions:
    recorded = Transactions()
    monkeypatch.setattr(module, "place_once", recorded.place_once)
    return recorded


@pytest.fixture
def group_commit(transactions: Transactions) -> GroupCommit:
    return GroupCommit(NO_DATABASE, batch_seconds=BATCH_SECONDS)


def placed(order: PlaceOrder) -> Placed:
    return Placed(order_id=order.order_id, total_cents=order.customer_id)


def orders_of(count: int, line_count: int = 1) -> list[PlaceOrder]:
    order = an_order(dict.fromkeys(range(1, line_count + 1), 1))
    return [order.model_copy(update={"order_id": uuid4(), "customer_id": n}) for n in range(1, count + 1)]


def outcomes_of(orders: Iterable[PlaceOrder]) -> list[PlaceOutcome]:
    return [placed(order) for order in orders]


def start(place: Coroutine[Any, Any, list[PlaceOutcome]]) -> asyncio.Task[list[PlaceOutcome]]:
    return asyncio.create_task(place)


async def until_begun(transactions: Transactions, count: int) -> None:
    while len(transactions.batches) < count:
        await asyncio.sleep(0)


async def start_as_many_as_run_at_a_time(
    group_commit: GroupCommit, transactions: Transactions
) -> list[asyncio.Task[list[PlaceOutcome]]]:
    """All that comes now waits."""
    tasks = []
    for number in range(IN_FLIGHT):
        tasks.append(start(group_commit.place(orders_of(1))))
        await until_begun(transactions, number + 1)
    return tasks


async def test_an_order_alone_starts_at_once_and_what_comes_meanwhile_shares_the_next_transaction(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    tasks = await start_as_many_as_run_at_a_time(group_commit, transactions)
    assert [len(batch) for batch in transactions.batches] == [1] * IN_FLIGHT
    late = orders_of(50)
    for order in late:
        tasks.append(start(group_commit.place([order])))
        await asyncio.sleep(0)
    transactions.go.set()
    await asyncio.gather(*tasks)
    assert transactions.batches[IN_FLIGHT:] == [late]


async def test_what_comes_in_the_same_moment_shares_a_transaction(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    orders = orders_of(200)
    outcomes = await asyncio.gather(*(group_commit.place([order]) for order in orders))
    assert list(chain.from_iterable(outcomes)) == outcomes_of(orders)
    assert transactions.batches == [orders]


async def test_never_more_transactions_at_a_time_than_in_flight(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    await asyncio.gather(*(group_commit.place(orders_of(70)) for _ in range(100)))
    assert transactions.most_at_a_time == IN_FLIGHT
    assert sum(map(len, transactions.batches)) == 7000
    assert MAX_BATCH // 70 == 4
    assert [len(batch) for batch in transactions.batches] == [4 * 70] * 25


async def test_no_orders_are_no_transaction(group_commit: GroupCommit, transactions: Transactions) -> None:
    assert await group_commit.place([]) == []
    assert not transactions.batches


async def test_a_transaction_gives_up_early_where_others_may_wait_behind_it(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    """A lone order, too: on a row that somebody holds it would keep all others waiting."""
    transactions.go.set()
    await group_commit.place(orders_of(2))
    await group_commit.place(orders_of(1))
    assert transactions.seconds == [BATCH_SECONDS] * 2


def shares(jobs: Iterable[Sequence[PlaceOrder]]) -> list[_Share]:
    loop = asyncio.get_running_loop()
    return [_Share(*page, loop.create_future(), None) for job in jobs for page in _pages(job)]


def batch_of(group_commit: GroupCommit) -> list[PlaceOrder]:
    return [order for share in group_commit._next_batch() for order in share.orders]


line_counts = st.sampled_from([1, 10, 100, MAX_LINES])
jobs = st.builds(orders_of, st.integers(1, MAX_ORDERS), line_counts).filter(
    lambda orders: len(orders) * len(orders[0].lines) <= wire.MAX_BATCH_LINES
)


@given(st.lists(jobs, min_size=1, max_size=8))
async def test_every_batch_keeps_within_its_limits_and_holds_the_oldest_orders(
    waiting: list[list[PlaceOrder]],
) -> None:
    group_commit = GroupCommit(NO_DATABASE, batch_seconds=BATCH_SECONDS)
    group_commit._waiting = shares(waiting)
    taken: list[PlaceOrder] = []
    while group_commit._waiting:
        oldest = group_commit._waiting[0]
        batch = group_commit._next_batch()
        orders = [order for share in batch for order in share.orders]
        assert batch[0] is oldest
        assert all(len(share.orders) <= MAX_SHARE for share in batch)
        assert len(orders) <= MAX_BATCH
        assert sum(len(order.lines) for order in orders) <= wire.MAX_BATCH_LINES
        taken += orders
    every = [order.order_id for job in waiting for order in job]
    assert sorted(order.order_id for order in taken) == sorted(every), "each once"


@given(st.lists(jobs, max_size=8), line_counts)
@example([orders_of(40, MAX_LINES)], 1)
async def test_an_order_alone_is_in_the_very_next_batch_although_big_jobs_wait(
    waiting: list[list[PlaceOrder]], line_count: int
) -> None:
    group_commit = GroupCommit(NO_DATABASE, batch_seconds=BATCH_SECONDS)
    alone = orders_of(1, line_count)
    group_commit._waiting = shares([*(job for job in waiting if len(job) > 1), alone])
    assert alone[0] in batch_of(group_commit)


async def test_a_flood_of_small_orders_holds_no_big_job_back() -> None:
    group_commit = GroupCommit(NO_DATABASE, batch_seconds=BATCH_SECONDS)
    big = orders_of(MAX_ORDERS)
    group_commit._waiting = shares([big])
    done: list[PlaceOrder] = []
    for _ in range(MAX_ORDERS // MAX_SHARE):
        group_commit._waiting += shares([order] for order in orders_of(2 * MAX_BATCH))
        done += batch_of(group_commit)[:MAX_SHARE]
    assert done == big


async def test_a_job_of_many_shares_has_its_outcomes_in_its_own_order(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    big, other, small = orders_of(MAX_ORDERS), orders_of(250), orders_of(3)
    outcomes = await asyncio.gather(*map(group_commit.place, [big, other, small]))
    assert outcomes == [outcomes_of(big), outcomes_of(other), outcomes_of(small)]


BUG = DatabaseError("insert_orders", err.DataError(1264, "Out of range value"))


async def test_an_order_that_fails_takes_no_neighbour_along(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    first, bad, last = orders_of(1), orders_of(1), orders_of(3)
    transactions.broken[bad[0].order_id] = BUG
    results = await asyncio.gather(*map(group_commit.place, [first, bad, last]), return_exceptions=True)
    assert results == [outcomes_of(first), BUG, outcomes_of(last)]


async def test_a_job_with_an_order_that_fails_raises_and_its_other_orders_are_placed(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    orders = orders_of(5)
    transactions.broken[orders[2].order_id] = BUG
    with pytest.raises(DatabaseError, match="1264"):
        await group_commit.place(orders)
    assert transactions.batches == [orders, orders[:2], orders[2:], orders[2:3], orders[3:]]
    assert transactions.seconds == [BATCH_SECONDS] * 5


async def test_one_order_of_many_that_fails_is_found_in_few_transactions(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    jobs = [[order] for order in orders_of(MAX_BATCH)]
    transactions.broken[jobs[77][0].order_id] = BUG
    results = await asyncio.gather(*map(group_commit.place, jobs), return_exceptions=True)
    assert results == [*map(outcomes_of, jobs[:77]), BUG, *map(outcomes_of, jobs[78:])]
    assert len(transactions.batches) <= 1 + 2 * MAX_BATCH.bit_length()


async def test_an_order_that_fails_alone_is_not_tried_a_second_time(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    (order,) = orders = orders_of(1)
    transactions.broken[order.order_id] = BUG
    with pytest.raises(DatabaseError, match="1264"):
        await group_commit.place(orders)
    assert transactions.holding(order) == 1


async def test_an_outage_is_everybodys_and_no_reason_to_ask_order_by_order(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    transactions.go.set()
    outage = DatabaseError("commit", err.OperationalError(2013, "Lost connection"))
    assert outage.kind is Kind.OUTAGE
    orders = orders_of(5)
    transactions.broken[orders[2].order_id] = outage
    for result in await asyncio.gather(group_commit.place(orders), return_exceptions=True):
        assert result is outage
    assert transactions.batches == [orders]


async def test_a_job_that_is_cancelled_before_its_batch_starts_is_left_out(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    running = await start_as_many_as_run_at_a_time(group_commit, transactions)
    cancelled, waiting = orders_of(MAX_SHARE + 1), orders_of(2)
    gone, stays = start(group_commit.place(cancelled)), start(group_commit.place(waiting))
    await asyncio.sleep(0)
    gone.cancel()
    transactions.go.set()
    assert await stays == outcomes_of(waiting)
    with pytest.raises(asyncio.CancelledError):
        await gone
    await asyncio.gather(*running)
    assert transactions.batches[IN_FLIGHT:] == [waiting]


async def test_a_job_that_is_cancelled_while_its_transaction_runs_leaves_the_others_alone(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    cancelled, waiting = orders_of(2), orders_of(2)
    gone, stays = start(group_commit.place(cancelled)), start(group_commit.place(waiting))
    await until_begun(transactions, 1)
    gone.cancel()
    transactions.go.set()
    assert await stays == outcomes_of(waiting)
    assert transactions.batches == [cancelled + waiting]


async def test_closing_waits_for_the_transactions_that_run(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    running = await start_as_many_as_run_at_a_time(group_commit, transactions)
    waiting = start(group_commit.place(orders_of(2)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(group_commit.close())
    await asyncio.sleep(0)
    assert not closing.done()
    transactions.go.set()
    await closing
    assert not transactions.running
    await asyncio.gather(*running, waiting)


async def test_the_same_order_of_two_jobs_has_an_outcome_each(
    group_commit: GroupCommit, transactions: Transactions
) -> None:
    """Which it is, `place_once` says; here nothing may get lost or mixed up."""
    transactions.go.set()
    first, second = orders_of(3), orders_of(3)
    twice = [*first, second[1], first[0]]
    outcomes = await asyncio.gather(*map(group_commit.place, [twice, second, twice]))
    assert outcomes == [outcomes_of(twice), outcomes_of(second), outcomes_of(twice)]
