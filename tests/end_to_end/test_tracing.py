"""Real workers that trace: to a collector over OTLP, and, where they do not, as somebody that hands traces on."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

import pytest
from aiohttp import ClientSession
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.asking import PATIENCE_SECONDS, until
from tests.end_to_end.conftest import StartWeb, StartWorker
from tests.end_to_end.own_servers import free_port
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.shop import an_order, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.queue import wire
from worker.settings import Settings

TRACE: Final = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps."""
    return environment | PATIENT_VARIABLES


class Collector:
    """Takes spans over HTTP, as any of OpenTelemetry's collectors does."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's own
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in request.resource_spans:
                    collector.services |= {
                        attribute.value.string_value
                        for attribute in resource.resource.attributes
                        if attribute.key == "service.name"
                    }
                    for scope in resource.scope_spans:
                        collector.spans |= {span.name: span for span in scope.spans}
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = Thread(target=collector.server.serve_forever)
    thread.start()
    yield collector
    collector.server.shutdown()
    thread.join()
    collector.server.server_close()


async def place_traced(redis: ArqRedis) -> str:
    """As a service that traces; the order's id."""
    message = wire.placing(an_order({1: 1}))._replace(traceparent=TRACE)
    await wire.enqueue(redis, [message])
    return message.job_id


async def published(redis: ArqRedis) -> dict[bytes, bytes]:
    async def first() -> dict[bytes, bytes] | None:
        found = await redis.xrange("lockstep:events")
        return dict(found[0][1]) if found else None

    return await until(first, "the event")


async def test_a_worker_sends_its_spans_to_the_collector(
    environment: dict[str, str],
    settings: Settings,
    database: Database,
    redis: ArqRedis,
    collector: Collector,
    start_worker: StartWorker,
) -> None:
    await open_shop(database, {1: 5})
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    worker = start_worker(tracing="true")
    await place_traced(redis)
    event = await published(redis)
    assert await worker.terminate() == 0, "and what it has not sent yet it sends at its end"
    process, publish = collector.spans["process place_order"], collector.spans["publish order.placed"]
    assert {process.trace_id, publish.trace_id} == {bytes.fromhex("a" * 32)}
    assert process.parent_span_id == bytes.fromhex("b" * 16)
    assert publish.parent_span_id == process.span_id
    assert [link.span_id for link in collector.spans["group commit"].links] == [process.span_id]
    assert event[b"traceparent"].decode() == f"00-{'a' * 32}-{publish.span_id.hex()}-01"
    assert collector.services == {"lockstep-worker"}


async def test_an_order_that_comes_over_http_stays_in_the_trace_of_who_sends_it(
    environment: dict[str, str],
    database: Database,
    redis: ArqRedis,
    collector: Collector,
    start_web: StartWeb,
) -> None:
    await open_shop(database, {1: 5})
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    web = await start_web("--open", tracing="true")
    order = an_order({1: 1}).model_dump(mode="json", exclude_none=True)
    async with ClientSession(web.url, headers={"traceparent": TRACE}) as shop:

        async def is_queued() -> bool:
            """While Redis does not answer, it is accepted all the same, and sent again."""
            async with shop.post("/orders", json=order) as response, shop.get(response.headers["Location"]):
                assert response.status == 202
            return bool(await redis.exists(job_key_prefix + order["order_id"]))

        await until(is_queued, "the order to be in the queue")
    assert await web.terminate() == 0
    received, sent = collector.spans["POST /orders"], collector.spans["send place_order"]
    assert received.trace_id == sent.trace_id == bytes.fromhex("a" * 32)
    assert received.parent_span_id == bytes.fromhex("b" * 16)
    assert sent.parent_span_id == received.span_id
    job = wire.deserialize(await redis.get(job_key_prefix + order["order_id"]))
    assert sent.span_id.hex() in str(job)
    assert len(collector.spans) == 2, "who only looks is not traced"
    assert collector.services == {"lockstep-web"}


async def test_a_collector_that_is_away_costs_no_order_and_no_end(
    environment: dict[str, str], settings: Settings, database: Database, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"  # seconds, of its last try
    worker = start_worker(tracing="true")
    async with OrderClient.connect(settings.redis_url) as client:
        receipt = await client.place(an_order({1: 1}))
        assert (await receipt.outcome(timeout=PATIENCE_SECONDS)).status == "placed"
    assert await worker.terminate() == 0


async def test_a_worker_that_does_not_trace_hands_the_trace_on_to_the_event(
    database: Database, redis: ArqRedis, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 5})
    start_worker()
    order_id = await place_traced(redis)
    event = await published(redis)
    assert (event[b"order_id"].decode(), event[b"traceparent"].decode()) == (order_id, TRACE)
