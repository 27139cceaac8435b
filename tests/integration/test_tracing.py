"""One trace from `place()` to the published event, recorded by OpenTelemetry's own SDK."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgpack
import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode, format_span_id, format_trace_id

from jobs.orders.requests import PlaceOrder
from jobs.outbox import RecordedEvent
from tests.integration.conftest import MakeWorker, entries
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import wire
from worker.queue.event_stream import EventStream
from worker.queue.relay import Relay
from worker.settings import Settings

TRACE: Final = f"00-{'a' * 32}-{'b' * 16}-01"
OTHER: Final = f"00-{'c' * 32}-{'d' * 16}-01"


class Spans:
    """What is recorded in this test."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture(autouse=True)
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Of a provider that is there for one test: others must not be traced."""
    spans = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", spans.provider)
    return spans


def context(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context
    return context


def traceparent(span: ReadableSpan) -> str:
    ids = context(span)
    return f"00-{format_trace_id(ids.trace_id)}-{format_span_id(ids.span_id)}-{ids.trace_flags:02x}"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


class Shop:
    """Runs what is in the queue, and publishes what comes of it."""

    def __init__(self, database: Database, stream: EventStream, redis: ArqRedis, make: MakeWorker) -> None:
        self._database, self._stream, self._redis, self._make = database, stream, redis, make

    async def work(self, **options: Any) -> None:
        await self._make(self._database, **options).main()

    async def published(self) -> list[dict[str, str]]:
        await Relay(self._database, self._stream).relay_batch()
        return await entries(self._redis)


@pytest.fixture
async def shop(database: Database, stream: EventStream, redis: ArqRedis, make_worker: MakeWorker) -> Shop:
    await open_shop(database, {1: 50})
    return Shop(database, stream, redis, make_worker)


async def test_one_trace_leads_from_the_caller_to_the_published_event(
    shop: Shop, client: OrderClient, spans: Spans
) -> None:
    order = an_order({1: 1})
    with trace.get_tracer("test").start_as_current_span("checkout") as checkout:
        await client.place(order)
    await shop.work()
    (event,) = await shop.published()
    send, process = spans.only("send place_order"), spans.only("process place_order")
    publish = spans.only("publish order.placed")
    assert {context(span).trace_id for span in (send, process, publish)} == {
        checkout.get_span_context().trace_id
    }
    assert parent_id(send) == checkout.get_span_context().span_id
    assert parent_id(process) == context(send).span_id
    assert parent_id(publish) == context(process).span_id
    assert event["traceparent"] == traceparent(publish)
    assert [span.kind.name for span in (send, process, publish)] == ["PRODUCER", "CONSUMER", "PRODUCER"]
    assert attributes(process) == {
        "lockstep.job_id": str(order.order_id),
        "lockstep.job_try": 1,
    }


async def test_the_transaction_that_orders_share_is_linked_to_each_of_them(
    shop: Shop, client: OrderClient, spans: Spans
) -> None:
    for _ in range(3):
        await client.place(an_order({1: 1}))  # each in a job of its own
    await shop.work()
    commits = spans.named("group commit")
    processed = spans.named("process place_order")
    assert len({context(span).trace_id for span in processed}) == 3
    assert set.union(*map(linked, commits)) == {context(span).span_id for span in processed}
    assert sum(attributes(span)["lockstep.orders"] for span in commits) == 3
    assert all(span.parent is None for span in commits), "it belongs to none of them"


async def test_orders_that_share_a_job_by_chance_keep_their_own_traces(
    settings: Settings, shop: Shop, redis: ArqRedis, spans: Spans
) -> None:
    orders = [an_order({1: 1}) for _ in range(3)]
    async with OrderClient.connect(settings.redis_url, linger_seconds=0.1) as client:
        await asyncio.gather(*map(client.place, orders))
    assert await redis.zcard("arq:queue") == 1
    await shop.work()
    sent = {attributes(span)["lockstep.order_id"]: context(span) for span in spans.named("send place_order")}
    processed = spans.named("process place_orders")
    assert {parent_id(span) for span in processed} == {one.span_id for one in sent.values()}
    events = await shop.published()
    assert len(events) == 3
    for event in events:
        assert event["traceparent"].split("-")[1] == format_trace_id(sent[event["order_id"]].trace_id)


async def test_many_orders_of_one_call_are_one_trace_and_their_job_is_one_span(
    shop: Shop, client: OrderClient, spans: Spans
) -> None:
    async for _ in client.place_many([an_order({1: 1}) for _ in range(3)]):
        pass
    await shop.work()
    send, process = spans.only("send place_orders"), spans.only("process place_orders")
    assert parent_id(process) == context(send).span_id
    assert linked(spans.only("group commit")) == {context(process).span_id}
    events = await shop.published()
    assert {event["traceparent"] for event in events} == {
        traceparent(span) for span in spans.named("publish order.placed")
    }
    assert {parent_id(span) for span in spans.named("publish order.placed")} == {context(process).span_id}


@pytest.mark.parametrize(
    ("task", "kind"), [("cancel_order", "order.cancelled"), ("ship_order", "order.shipped")]
)
async def test_what_is_asked_later_is_a_trace_of_its_own(
    task: str, kind: str, shop: Shop, client: OrderClient, spans: Spans
) -> None:
    order = an_order({1: 1})
    await client.place(order)
    await shop.work()
    await shop.published()
    await (client.cancel if task == "cancel_order" else client.ship)(order.order_id)
    await shop.work()
    event = (await shop.published())[-1]
    send, process, publish = (
        spans.only(name) for name in (f"send {task}", f"process {task}", f"publish {kind}")
    )
    assert parent_id(process) == context(send).span_id
    assert parent_id(publish) == context(process).span_id
    assert event["traceparent"] == traceparent(publish)
    assert context(send).trace_id != context(spans.only("send place_order")).trace_id


async def test_each_try_is_a_span_and_one_that_fails_says_so(
    shop: Shop,
    settings: Settings,
    client: OrderClient,
    spans: Spans,
    redis: ArqRedis,
    make_worker: MakeWorker,
) -> None:
    order = an_order({1: 1})
    await client.place(order)
    gone = settings.model_copy(update={"mysql_url": "mysql://nobody:x@127.0.0.1:1/lockstep"})
    async with Database(gone) as outage:
        await make_worker(outage, max_burst_jobs=1).main()
    await redis.zadd("arq:queue", {str(order.order_id): 1})  # now, not later
    await shop.work()
    first, second = spans.named("process place_order")
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET
    assert [attributes(span)["lockstep.job_try"] for span in (first, second)] == [1, 2]
    assert parent_id(first) == parent_id(second) == context(spans.only("send place_order")).span_id


async def test_an_order_that_nobody_traced_begins_a_trace_in_the_worker(
    shop: Shop, redis: ArqRedis, spans: Spans
) -> None:
    order = an_order({1: 1})
    await wire.enqueue(redis, [wire.placing(order)])
    await shop.work()
    (event,) = await shop.published()
    process = spans.only("process place_order")
    assert process.parent is None
    assert event["traceparent"].split("-")[1] == format_trace_id(context(process).trace_id)


async def enqueue_raw(redis: ArqRedis, orders: Sequence[PlaceOrder], traceparent: object) -> None:
    """As a service in another language does."""
    requests = [order.model_dump(mode="json", exclude_none=True) for order in orders]
    task, request = ("place_order", requests[0]) if len(orders) == 1 else ("place_orders", requests)
    job_id = uuid4().hex
    job = {"t": None, "f": task, "a": [request], "k": {}, "et": 1, "traceparent": traceparent}
    await redis.set(job_key_prefix + job_id, msgpack.packb(job))
    await redis.zadd("arq:queue", {job_id: 1})


async def test_a_service_of_another_language_sends_one_traceparent_a_job_or_one_an_order(
    shop: Shop, redis: ArqRedis, spans: Spans
) -> None:
    alone, first, second, third = (an_order({1: 1}) for _ in range(4))
    await enqueue_raw(redis, [alone], TRACE)
    await enqueue_raw(redis, [first, second, third], [TRACE, None, OTHER])
    await shop.work()
    traces = {event["order_id"]: event["traceparent"].split("-")[1] for event in await shop.published()}
    assert traces.pop(str(second.order_id)) not in {"a" * 32, "c" * 32}
    assert traces == {
        str(alone.order_id): "a" * 32,
        str(first.order_id): "a" * 32,
        str(third.order_id): "c" * 32,
    }


@pytest.mark.parametrize(
    "bad",
    [5, "x" * 1000, TRACE.upper(), ["a"], {"a": [1]}, [TRACE] * 3],
    ids=["number", "long", "capitals", "short list", "map", "long list"],
)
async def test_a_bad_traceparent_costs_the_trace_alone(
    bad: object, shop: Shop, redis: ArqRedis, database: Database
) -> None:
    orders = [an_order({1: 1}), an_order({1: 1})]
    await enqueue_raw(redis, orders, bad)
    await enqueue_raw(redis, [an_order({1: 1})], bad)
    await shop.work()
    assert [event["kind"] for event in await shop.published()] == ["order.placed"] * 3


async def test_the_same_events_published_again_are_still_each_once(
    database: Database, stream: EventStream, shop: Shop, redis: ArqRedis
) -> None:
    """Entries with a traceparent and without one are of different lengths, in one script."""

    events = [
        RecordedEvent(
            number,
            uuid4().hex,
            "order.placed",
            {},
            "2026-01-01 00:00:00.000000",
            TRACE if number % 2 else None,
        )
        for number in range(1, 6)
    ]
    publish = partial(stream.publish, events)
    assert [await publish(), await publish()] == [5, 0]
    assert ["traceparent" in entry for entry in await entries(redis)] == [True, False, True, False, True]
    assert [entry["recorded_at"] for entry in await entries(redis)] == ["2026-01-01T00:00:00.000000Z"] * 5
