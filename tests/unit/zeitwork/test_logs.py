"""Logs: one JSON object a line, static names, and no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from zeitwork import context, logs

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO) -> Iterator[Lines]:
    """Log as a process does; what was written so far."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logs.configure(service="test", level="debug", fmt="json", stream=stream)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers[:] = handlers
        root.setLevel(level)


def test_a_line_is_an_object_with_its_fields(lines: Lines) -> None:
    logs.get("a.module").info("thing happened", thing_id="x_1", count=2)
    (line,) = lines()
    assert line.pop("ts").endswith("Z")
    assert line == {
        "event": "thing happened",
        "thing_id": "x_1",
        "count": 2,
        "level": "info",
        "logger": "a.module",
        "service": "test",
    }


def test_records_of_libraries_look_the_same(lines: Lines) -> None:
    logging.getLogger("library").warning("took %s", "long")
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("took long", "warning", "library")


def test_the_context_is_on_every_line(lines: Lines) -> None:
    with context.bind(correlation_id="evt_1", project_id="prj_1", causation_id=None):
        logs.get("a").info("inside")
    logs.get("a").info("outside")
    inside, outside = lines()
    assert (inside["correlation_id"], inside["project_id"]) == ("evt_1", "prj_1")
    assert "causation_id" not in inside
    assert "correlation_id" not in outside


def test_lines_inside_a_span_name_their_trace(lines: Lines) -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("work") as span:
        logs.get("a").info("inside")
    (line,) = lines()
    assert line["trace_id"] == trace.format_trace_id(span.get_span_context().trace_id)
    assert line["span_id"] == trace.format_span_id(span.get_span_context().span_id)


@pytest.mark.parametrize(
    "field", ["token", "api_token", "Authorization", "github_webhook_secret", "PASSWORD", "cookies"]
)
def test_fields_that_are_named_like_secrets_are_masked(lines: Lines, field: str) -> None:
    logs.get("a").info("x", **{field: "hidden"})
    (line,) = lines()
    assert line[field] == "***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:hidden@host/db", "postgresql://***@host/db"),
        ("redis://:hid@den@host", "redis://***@host"),
        ("clone https://x:hidden@github.com/a failed", "clone https://***@github.com/a failed"),
        ("https://example.org/a:b@c", "https://example.org/a:b@c"),
    ],
)
def test_passwords_inside_urls_are_masked(lines: Lines, text: str, shown: str) -> None:
    logs.get("a").info("x", detail=text)
    (line,) = lines()
    assert line["detail"] == shown


def test_lines_below_the_level_are_not_written(lines: Lines, stream: io.StringIO) -> None:
    logs.configure(service="test", level="warning", fmt="json", stream=stream)
    logs.get("a").info("quiet")
    logs.get("a").warning("loud")
    assert [line["event"] for line in lines()] == ["loud"]


def test_chatty_libraries_are_kept_quiet(lines: Lines) -> None:
    for name in ("nats", "faststream", "alembic", "aiohttp.access"):
        logging.getLogger(name).info("chatter")
    assert lines() == []


def test_an_exception_is_part_of_its_line(lines: Lines) -> None:
    try:
        int("the reason")
    except ValueError:
        logs.get("a").exception("it failed")
    (line,) = lines()
    assert line["level"] == "error"
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert "the reason" in line["exception"][0]["exc_value"]


def test_a_stack_trace_holds_no_values(lines: Lines) -> None:
    def connect(secret: str) -> None:
        raise RuntimeError(f"no answer after {len(secret)} tries")

    try:
        connect("hidden")
    except RuntimeError:
        logs.get("a").exception("it failed")
    assert "hidden" not in json.dumps(lines())


def test_a_token_inside_a_url_is_masked(lines: Lines) -> None:
    logs.get("a").info("x", detail="nats://hidden@127.0.0.1:4222")
    assert "hidden" not in json.dumps(lines())


def test_the_console_masks_what_an_exception_says(lines: Lines, stream: io.StringIO) -> None:
    logs.configure(service="test", fmt="console", stream=stream)

    def connect(secret: str) -> None:
        raise RuntimeError(f"no answer from nats://name:{secret}@host")

    try:
        connect("hidden")
    except RuntimeError:
        logs.get("a").exception("it failed")
    assert "nats://***@host" in stream.getvalue()
    assert "hidden" not in stream.getvalue().replace('connect("hidden")', "")


def test_the_console_has_columns(lines: Lines, stream: io.StringIO) -> None:
    logs.configure(service="test", fmt="console", stream=stream)
    logs.get("a").info("thing happened", thing_id="x_1")
    text = stream.getvalue()
    assert "thing happened" in text
    assert "x_1" in text
    assert not text.startswith("{")
