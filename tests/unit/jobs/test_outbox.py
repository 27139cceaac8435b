import json
from uuid import UUID

from jobs.outbox import Event, NextEvent, RecordedEvent, next_events, record_events, remove_published
from tests.unit.jobs.recording import RecordingTransaction


async def test_events_are_recorded_in_their_order_by_one_statement() -> None:
    transaction = RecordingTransaction()
    body = {"status": "placed", "name": "Käse"}
    events = [Event(UUID(int=2), "order.placed", body), Event(UUID(int=1), "order.rejected", {})]
    await record_events(transaction, iter(events))
    rows = transaction.sent("insert_events")["events"]
    assert [(row["order_id"], row["kind"], json.loads(row["body"])) for row in rows] == [
        (UUID(int=2).hex, "order.placed", body),
        (UUID(int=1).hex, "order.rejected", {}),
    ]


async def test_the_next_events_come_in_the_order_of_their_ids() -> None:
    rows = [{"event_id": event_id, "body_bytes": 9, "age_microseconds": 5} for event_id in (8, 7)]
    reader = RecordingTransaction({"next_events": rows})
    assert await next_events(reader, after=6, size=2) == [NextEvent(7, 9, 5), NextEvent(8, 9, 5)]
    assert reader.sent("next_events") == {"after": 6, "size": 2}
    assert await next_events(RecordingTransaction({"next_events": []}), after=0, size=2) == []


async def test_exactly_the_published_events_are_deleted_and_counted() -> None:
    kinds = ("order.shipped", "order.placed", "order.placed")
    events = [RecordedEvent(number, "0a", kind, {}, "") for number, kind in enumerate(kinds)]
    transaction = RecordingTransaction()
    await remove_published(transaction, events)
    assert transaction.statements == ["delete_events", "add_published_events"], "the counts last"
    assert transaction.sent("delete_events") == {"event_ids": [0, 1, 2]}
    assert transaction.sent("add_published_events")["counts"] == [
        {"kind": "order.placed", "events": 2},
        {"kind": "order.shipped", "events": 1},
    ]
