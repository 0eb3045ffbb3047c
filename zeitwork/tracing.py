"""OpenTelemetry: spans always, exported when OTEL_EXPORTER_OTLP_ENDPOINT is set.

W3C `traceparent` travels in NATS headers and HTTP headers through `inject` and `continued`; a row
that outlives the work that made it keeps it too, for `resumed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from zeitwork import __version__

SpanKind = trace.SpanKind


def configure(*, service: str, endpoint: str | None) -> TracerProvider:
    """Install the tracer of this process; the exporter is imported only when there is a target."""
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": f"zeitwork-{service}", "service.version": __version__}
        )
    )
    if endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


@cache  # each call would make another; one from before `configure` finds the provider by itself
def _tracer() -> trace.Tracer:
    return trace.get_tracer("zeitwork", __version__)


@contextmanager
def span(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: Any
) -> Iterator[trace.Span]:
    """A span round a block; an exception marks it as failed."""
    with _tracer().start_as_current_span(name, kind=kind, attributes=attributes) as active:
        yield active


@contextmanager
def continued(
    headers: Mapping[str, str], name: str, *, kind: SpanKind = SpanKind.CONSUMER, **attributes: Any
) -> Iterator[trace.Span]:
    """A span whose parent is the trace in `headers`, or a new trace without one."""
    parent = propagate.extract({key.lower(): value for key, value in headers.items()})
    with _tracer().start_as_current_span(
        name, context=parent, kind=kind, attributes=attributes
    ) as active:
        yield active


@contextmanager
def resumed(traceparent: str | None) -> Iterator[None]:
    """Work inside the trace of a kept `traceparent`; without one, inside none."""
    carrier = {} if traceparent is None else {"traceparent": traceparent}
    token = context.attach(propagate.extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


def inject(headers: MutableMapping[str, str]) -> None:
    """Write the current `traceparent` into `headers`."""
    propagate.inject(headers)


def current_traceparent() -> str | None:
    """The current span in the form that `resumed` takes."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")


def current_trace_id() -> str | None:
    span = trace.get_current_span().get_span_context()
    return format(span.trace_id, "032x") if span.is_valid else None
