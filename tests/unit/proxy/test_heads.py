"""Heads: parsed, or refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import heads, refusals
from proxy.framing import BadFraming
from proxy.refusals import Refusal, Refused


def test_a_request_is_parsed_with_names_in_lower_case_and_values_trimmed() -> None:
    head = heads.parse_request(b"GET /a?b HTTP/1.1\r\nHost:a\r\nX-Y: \t v w \t\r\nX-Empty:\r\n\r\n")
    assert (head.method, head.target, head.minor) == (b"GET", b"/a?b", 1)
    assert head.fields == [(b"host", b"a"), (b"x-y", b"v w"), (b"x-empty", b"")]
    assert (head.first(b"x-y"), head.first(b"none")) == (b"v w", None)


def test_an_upgrade_does_not_end_the_parse_early() -> None:
    raw = b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nLast: 1\r\n\r\n"
    assert heads.parse_request(raw).first(b"last") == b"1"


def test_a_response_may_lack_its_reason() -> None:
    for line in (b"HTTP/1.1 200", b"HTTP/1.1 200 "):
        head = heads.parse_response(line + b"\r\nX: 1\r\n\r\n")
        assert (head.status, head.reason, head.fields) == (200, b"", [(b"x", b"1")])


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b"GET / HTTP/1.1 \r\n\r\n", refusals.BAD_REQUEST_LINE),
        (b"GET /\t HTTP/1.1\r\n\r\n", refusals.BAD_REQUEST_LINE),
        (b"\nGET / HTTP/1.1\r\n\r\n", refusals.BAD_REQUEST_LINE),
        (b"GET / HTTP/1.2\r\n\r\n", refusals.UNKNOWN_VERSION),
        (b"GET / RTSP/1.0\r\n\r\n", refusals.BAD_REQUEST_LINE),
        (b"get / HTTP/1.1\r\n\r\n", refusals.UNKNOWN_METHOD),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", refusals.CONNECT_REFUSED),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", refusals.UNKNOWN_ENCODING),
        (b"GET / HTTP/1.1\r\na b: c\r\n\r\n", refusals.BAD_FIELDS),
    ],
)
def test_a_refused_request_says_why(raw: bytes, refusal: Refusal) -> None:
    with pytest.raises(Refused) as caught:
        heads.parse_request(raw)
    assert caught.value.refusal == refusal


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_bytes_make_the_parsers_fail_otherwise(line: bytes, fields: bytes) -> None:
    for start in (line, b"GET / HTTP/1.1\r\n" + line):
        try:
            head = heads.parse_request(start + fields + heads.HEAD_END)
        except Refused:
            continue
        assert not any(byte in value for _, value in head.fields for byte in b"\r\n\0")
    for start in (line, b"HTTP/1.1 200 OK\r\n" + line):
        try:
            found = heads.parse_response(start + fields + heads.HEAD_END)
        except BadFraming:
            continue
        assert not any(byte in value for _, value in found.fields for byte in b"\r\n\0")
