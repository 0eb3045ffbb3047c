"""structlog set-up: columns on a terminal, one JSON object a line elsewhere; secrets masked."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal

import structlog
from opentelemetry import trace
from structlog.types import EventDict, WrappedLogger

Format = Literal["auto", "console", "json"]
_SECRET = re.compile(r"(?i)(token|secret|password|authorization|signature|cookie)")
_URL_PASSWORD = re.compile(r"(?P<head>[a-z+]+://[^/\s:@]*:)[^@/\s]+@")


def get(name: str) -> Any:
    """The logger of a module or part; event names are static, data goes into fields."""
    return structlog.stdlib.get_logger(name)


def configure(*, service: str, level: str = "info", fmt: Format = "auto") -> None:
    """Route structlog and the standard library's records to one stream on stderr."""
    console = sys.stderr.isatty() if fmt == "auto" else fmt == "console"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _add_trace,
        redact,
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if console
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiohttp.access", "nats", "alembic", "faststream", "urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask fields that are named like secrets, and passwords inside URLs."""
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = _URL_PASSWORD.sub(r"\g<head>***@", value)
    return event


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = format(span.trace_id, "032x")
        event["span_id"] = format(span.span_id, "016x")
    return event
