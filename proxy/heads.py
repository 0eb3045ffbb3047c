"""Heads of messages, parsed by llhttp one at a time; start lines are checked here.

llhttp is given exactly the bytes of one head, so it never reads ahead into pipelined requests,
and its own idea of where bodies end does not matter. It checks field names and values byte by
byte; start lines it takes with several spaces, bare line feeds in front, or as RTSP, so these
are matched here first (llhttp 9.3 through httptools 0.9). Field names become lower case.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from proxy import refusals
from proxy.framing import BadFraming
from proxy.limits import Limits
from proxy.refusals import Refused

HEAD_END: Final = b"\r\n\r\n"
_CRLF = b"\r\n"
Fields = list[tuple[bytes, bytes]]

_REQUEST_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])\r\n"
)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t -~\x80-\xff]*))?\r\n")


def end_of(data: bytes, limits: Limits) -> int:
    """Where the head at the start of `data` ends; 0 while it is not complete.

    Raises:
        Refused: it is too large already.
    """
    line_end = data.find(_CRLF, 0, limits.request_line_bytes)
    if line_end < 0 and len(data) >= limits.request_line_bytes:
        raise Refused(refusals.TARGET_TOO_LONG)
    end = data.find(HEAD_END, 0, limits.request_head_bytes)
    if end >= 0:
        return end + len(HEAD_END)
    if len(data) >= limits.request_head_bytes:
        raise Refused(refusals.HEAD_TOO_LARGE)
    return 0


class RequestHead:
    """What a client asked, before anyone judged it. `minor`: of the version, 0 or 1."""

    __slots__ = ("fields", "method", "minor", "target")

    def __init__(self, method: bytes, target: bytes, *, minor: int, fields: Fields) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = fields

    def first(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)


class ResponseHead:
    """What an instance answered, before anyone judged it."""

    __slots__ = ("fields", "minor", "reason", "status")

    def __init__(self, status: int, reason: bytes, *, minor: int, fields: Fields) -> None:
        self.status = status
        self.reason = reason
        self.minor = minor
        self.fields = fields


class _Sink:
    """Collects the fields that the parser finds."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def parse_request(raw: bytes) -> RequestHead:
    """The request whose head is `raw`, up to and with its empty line.

    Raises:
        Refused: it is not HTTP/1.1 or HTTP/1.0, or a method that llhttp does not know.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise Refused(refusals.BAD_REQUEST_LINE)
    method, target, version = line.groups()
    if version not in {b"1.1", b"1.0"}:
        raise Refused(refusals.UNKNOWN_VERSION)
    if method == b"CONNECT":
        raise Refused(refusals.CONNECT_REFUSED)
    sink = _Sink()
    try:
        httptools.HttpRequestParser(sink).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # llhttp stops behind the head of an upgrade; that is all it was given
    except httptools.HttpParserInvalidMethodError as error:
        raise Refused(refusals.UNKNOWN_METHOD) from error
    except httptools.HttpParserInvalidURLError as error:
        raise Refused(refusals.BAD_TARGET) from error
    except httptools.HttpParserError as error:
        raise Refused(_fields_refusal(sink.fields)) from error
    return RequestHead(method, target, minor=int(version[2:]), fields=sink.fields)


def parse_response(raw: bytes) -> ResponseHead:
    """The response whose head is `raw`, up to and with its empty line.

    Raises:
        BadFraming: it is not an HTTP/1 response.
    """
    line = _STATUS_LINE.match(raw)
    if line is None:
        raise BadFraming("the status line is not HTTP/1")
    sink = _Sink()
    try:
        httptools.HttpResponseParser(sink).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadFraming("the response head is not HTTP") from error
    minor, status, reason = line.groups()
    return ResponseHead(int(status), reason or b"", minor=int(minor), fields=sink.fields)


def _fields_refusal(seen: Fields) -> refusals.Refusal:
    """Why llhttp stopped, as far as the fields it had read tell."""
    for name, value in seen:
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            return refusals.UNKNOWN_ENCODING
    return refusals.BAD_FIELDS
