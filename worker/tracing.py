"""Traces by OpenTelemetry, one from `OrderClient.place()` to the event that is published.

Where this process does not trace, nothing of it is imported, and what came in from others goes on to the next as it is.
A trace's place in the whole is a W3C `traceparent` everywhere else in this project.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final, Literal

from worker.errors import LockstepError

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)

Kind = Literal["SERVER", "PRODUCER", "CONSUMER", "INTERNAL"]


def set_up(service: str) -> Callable[[], None]:
    """Trace in this process, to where OpenTelemetry's own variables say; what it gives back sends the last spans.

    Raises LockstepError where the extra is not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415  # only who traces pays for it
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise LockstepError(
            "LOCKSTEP_TRACING needs OpenTelemetry: pip install 'lockstep-orders[tracing]'."
        ) from error
    os.environ.setdefault("OTEL_SERVICE_NAME", service)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def current() -> str | None:
    """Of the span that this task is in, or of who has asked, where this process does not trace."""
    return _current.get()


def valid(traceparent: object) -> str | None:
    """What somebody sent, if it is one."""
    return traceparent if isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent) else None


def span(
    name: str,
    kind: Kind,
    *,
    parent: str | None = None,
    links: Iterable[str] = (),
    **attributes: str | int,
) -> AbstractContextManager[str | None]:
    """A span for the block, below `parent` or else the span that this task is in; the block gets its traceparent."""
    if "opentelemetry.trace" in sys.modules:  # set up here, or by the application that uses the client
        return _recorded(name, kind, parent, links, attributes)
    return _passed_on(parent) if parent else _NOTHING


_NOTHING: Final = nullcontext(None)


@contextmanager
def _passed_on(traceparent: str | None) -> Iterator[str | None]:
    token = _current.set(traceparent)
    try:
        yield traceparent
    finally:
        _current.reset(token)


@contextmanager
def _recorded(
    name: str, kind: Kind, parent: str | None, links: Iterable[str], attributes: dict[str, Any]
) -> Iterator[str | None]:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    w3c = TraceContextTextMapPropagator()
    linked = [
        trace.Link(trace.get_current_span(w3c.extract({"traceparent": link})).get_span_context())
        for link in links
    ]
    with trace.get_tracer("lockstep").start_as_current_span(
        name,
        context=w3c.extract({"traceparent": parent}) if parent else None,
        kind=trace.SpanKind[kind],
        links=linked,
        attributes={f"lockstep.{key}": value for key, value in attributes.items()},
    ):
        carrier: dict[str, str] = {}
        w3c.inject(carrier)
        with _passed_on(carrier.get("traceparent")) as traceparent:
            yield traceparent
