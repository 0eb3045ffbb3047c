"""structlog set-up: columns on a terminal, one JSON object a line elsewhere; secrets masked."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import fields
from typing import Any, Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.types import EventDict, WrappedLogger

from zeitwork import context

Format = Literal["auto", "console", "json"]
_SECRET = re.compile(r"(?i)(token|secret|password|authorization|signature|cookie)")
# A lone user part is a token as often as a name (`nats://TOKEN@…`, `https://TOKEN@github.com`), and
# passwords hold "@" as well: everything goes, up to the last one before the path. No scheme in
# front, which would take quadratic time on a long word.
_URL_CREDENTIALS = re.compile(r"://[^/\s'\"]+@")
# Local variables of a frame may hold a secret, so no stack trace shows them.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def get(name: str) -> Any:
    """The logger of a module or part; event names are static, data goes into fields."""
    return structlog.stdlib.get_logger(name)


def configure(
    *, service: str, level: str = "info", fmt: Format = "auto", stream: TextIO | None = None
) -> None:
    """Route structlog and the standard library's records to one stream, stderr by default."""
    stream = stream or sys.stderr
    console = stream.isatty() if fmt == "auto" else fmt == "console"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_context,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _add_trace,
        redact,
    ]
    renderer: list[Any] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [_TRACEBACKS, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,  # first: what is not shown shall cost nothing
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *renderer,
                _mask_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiohttp.access", "nats", "alembic", "faststream", "urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask fields that are named like secrets."""
    for key in event:
        if _SECRET.search(key):
            event[key] = "***"
    return event


def masked(text: str) -> str:
    """`text` without what comes before the host of each URL in it."""
    return _URL_CREDENTIALS.sub("://***@", text)


def _mask_line(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """Mask URLs wherever they stand in the finished line."""
    return masked(line)


def _add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Read when a line is written: every call binds a context, and few write a line."""
    around = context.current()
    for field in fields(around):
        value = getattr(around, field.name)
        if value != field.default:
            event.setdefault(field.name, value)
    return event


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = format(span.trace_id, "032x")
        event["span_id"] = format(span.span_id, "016x")
    return event
