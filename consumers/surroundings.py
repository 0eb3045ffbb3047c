"""What surrounds the handling of a message: its thread of causes, and how an error is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from opentelemetry.trace import Span

from events.delivery import Delivery
from events.streams import Durable
from zeitwork import context, tracing
from zeitwork.errors import ZeitworkError


@contextmanager
def around(message: Delivery, durable: Durable) -> Iterator[Span]:
    """The thread of causes that the message belongs to, for logs, events and traces."""
    with (
        thread(message, durable) as headers,
        tracing.continued(headers, f"process {durable.name}", sequence=message.sequence) as span,
    ):
        yield span


@contextmanager
def thread(message: Delivery, durable: Durable) -> Iterator[Mapping[str, str]]:
    """The same without a span: for words about what is over. Yields the headers in lower case."""
    headers = {name.lower(): value for name, value in message.headers.items()}
    with (
        context.bind(
            correlation_id=headers.get("ce-correlationid"),
            causation_id=headers.get("ce-id"),
            actor=f"consumer:{durable.name}",
            organisation_id=headers.get("ce-organisation"),
            project_id=headers.get("ce-project"),
        ),
        structlog.contextvars.bound_contextvars(
            event_type=headers.get("ce-type"), sequence=message.sequence
        ),
    ):
        yield headers


def described(error: Exception) -> tuple[str, str]:
    """Code and text of an error; a foreign one's text may hold a secret, so its class serves."""
    if isinstance(error, ZeitworkError):
        return error.code, error.message
    return ZeitworkError.code, type(error).__name__
