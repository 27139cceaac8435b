"""Events, written in the transaction of the outcome that they tell of, and removed when they are published."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from jobs.transaction import Reader, Transaction, load_statements

_OUTBOX = load_statements("outbox.sql")
LINE: Final = ("product_id", "quantity", "unit_price_cents")
# What has happened to an order by its status: each kind of event once.
KINDS_OF_STATUS: Final = {
    "placed": ("order.placed",),
    "rejected": ("order.rejected",),
    "cancelled": ("order.placed", "order.cancelled"),
    "shipped": ("order.placed", "order.shipped"),
}


class Event(NamedTuple):
    """One thing that happened to an order; `body` must be fit for JSON, each of its lines as the values of `LINE`."""

    order_id: UUID
    kind: str
    body: dict[str, Any]
    traceparent: str | None = None


class NextEvent(NamedTuple):
    """An event that may be published, as far as its order goes. The age is by the server's clock alone."""

    event_id: int
    body_bytes: int
    age_microseconds: int


class RecordedEvent(NamedTuple):
    """An event as the outbox keeps it: the order id in hex digits, the time in UTC."""

    event_id: int
    order_id: str
    kind: str
    body: dict[str, Any]
    recorded_at: str
    traceparent: str | None = None

    def told(self) -> dict[str, Any]:
        """The body for whoever reads events: with names in its lines.

        The outbox has none: they would be most of what an order writes while it holds its locks. What a cancellation gives
        back has no price.
        """
        lines = self.body.get("lines")
        if not lines or isinstance(lines[0], dict):  # version 0.1.0 wrote them with names
            return self.body
        return {**self.body, "lines": [dict(zip(LINE, line, strict=False)) for line in lines]}


async def record_events(transaction: Transaction, events: Iterable[Event]) -> None:
    """Add events to the outbox, in their order."""
    rows = [
        (event.order_id.hex, event.kind, orjson.dumps(event.body).decode(), event.traceparent)
        for event in events
    ]
    await transaction.execute(_OUTBOX["insert_events"], {"events": rows})


async def next_events(reader: Reader, *, after: int, size: int) -> list[NextEvent]:
    """The oldest events with ids above `after`, of each order the first one only.

    The later events of an order are written after the earlier were committed. So where one is seen here and no earlier
    one, that has been published: also while other relays are at work.
    """
    (row,) = await reader.fetch(_OUTBOX["next_events"], {"after": after, "size": size})
    return sorted(map(NextEvent._make, orjson.loads(row["events"] or "[]")))


async def remove_published(transaction: Transaction, events: Collection[RecordedEvent]) -> None:
    """Delete exactly these events, and count them."""
    event_ids = [event.event_id for event in events]
    await transaction.execute(_OUTBOX["delete_events"], {"event_ids": event_ids})
    await add_published_events(transaction, Counter(event.kind for event in events))


async def add_published_events(transaction: Transaction, counts: Mapping[str, int]) -> None:
    """Count events that have left the outbox, or, below zero, that have gone with their orders."""
    await transaction.execute(_OUTBOX["add_published_events"], {"counts": sorted(counts.items())})
