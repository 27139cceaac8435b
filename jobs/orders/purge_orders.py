"""Remove old finished orders whose events are published, and keep what they came to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self
from uuid import UUID

from jobs.orders.locks import lock_orders
from jobs.orders.pages import Page
from jobs.outbox import KINDS_OF_STATUS, add_published_events
from jobs.transaction import Reader, Row, Transaction, load_statements

_PURGE = load_statements("orders/purge.sql")
_LIVE: Final = "placed"  # it may still be shipped or cancelled; every other status is final


@dataclass(frozen=True, slots=True)
class OldOrders:
    """Those of a page that may go, and how many are kept because nobody has shipped or cancelled them."""

    finished: list[UUID]
    kept: int


@dataclass(slots=True)
class Purged:
    """What was removed, how many old orders were kept because they are live, and how many for a later purge, and why."""

    orders: int = 0
    lines: int = 0
    kept: int = 0
    unpublished: int = 0
    buried: int = 0

    def __iadd__(self, more: Self) -> Self:
        """Count another transaction."""
        self.orders += more.orders
        self.lines += more.lines
        self.kept += more.kept
        self.unpublished += more.unpublished
        self.buried += more.buried
        return self


async def find_old_orders(reader: Reader, page: Page, before: str) -> OldOrders:
    """The orders of a page that were placed and recorded before a time in UTC."""
    limits = {"after": page.after, "last": page.last, "before": before}
    rows = await reader.fetch(_PURGE["old_orders"], limits)
    finished = [UUID(row["order_id"]) for row in rows if row["status"] != _LIVE]
    return OldOrders(finished, len(rows) - len(finished))


async def purge_orders(transaction: Transaction, order_ids: Iterable[UUID]) -> Purged:
    """Remove orders with their lines; live ones, and those that are gone already, are passed over.

    So are those with an event that is not published yet, and those with a dead letter: replayed, it has to find them. What
    they took and came to is added to `purged_sales` and `purged_totals`. Neither customers nor stock are locked, so that
    orders go on. May run again.
    """
    locked = [row for row in await lock_orders(transaction, order_ids) if row["status"] != _LIVE]
    ids = [order["order_id"] for order in locked]
    unpublished = {
        row["order_id"] for row in await transaction.fetch(_PURGE["orders_with_events"], {"order_ids": ids})
    }
    job_ids = [str(UUID(order_id)) for order_id in ids]
    buried = {
        UUID(row["job_id"]).hex
        for row in await transaction.fetch(_PURGE["orders_with_letters"], {"job_ids": job_ids})
    }
    orders = [order for order in locked if order["order_id"] not in unpublished | buried]
    kept = Purged(unpublished=len(unpublished), buried=len(buried - unpublished))
    if not orders:
        return kept
    ids = [order["order_id"] for order in orders]
    await _keep_what_they_came_to(transaction, [order for order in orders if order["status"] == "shipped"])
    lines = await transaction.execute(_PURGE["delete_order_lines"], {"order_ids": ids})
    await transaction.execute(_PURGE["delete_orders"], {"order_ids": ids})
    published = Counter(kind for order in orders for kind in KINDS_OF_STATUS[order["status"]])
    await add_published_events(transaction, {kind: -events for kind, events in published.items()})
    return replace(kept, orders=len(ids), lines=lines)


async def _keep_what_they_came_to(transaction: Transaction, shipped: Sequence[Row]) -> None:
    ids = [order["order_id"] for order in shipped]
    sold = await transaction.fetch(_PURGE["sold_by_orders"], {"order_ids": ids})
    owed: Counter[int] = Counter()
    for order in shipped:
        owed[order["customer_id"]] += order["total_cents"]
    totals = [{"customer_id": customer_id, "total_cents": owed[customer_id]} for customer_id in sorted(owed)]
    by_product = sorted(sold, key=lambda row: row["product_id"])
    await transaction.execute(_PURGE["add_purged_totals"], {"owed": totals})
    await transaction.execute(_PURGE["add_purged_sales"], {"sold": by_product})
