"""Heads as they are written anew."""

from __future__ import annotations

import pytest

from proxy import headers, heads, policy
from proxy.headers import Trace
from proxy.limits import Limits

_PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
_TRACE = Trace("c" * 32, b"00-cc-dd-01", None)


def sent(*fields: str, start: str = "GET / HTTP/1.1", peer: str = "10.0.0.1") -> list[str]:
    """The lines of the request that an instance gets."""
    raw = "".join(f"{line}\r\n" for line in (start, "host: a.test:8000", *fields)) + "\r\n"
    head = heads.parse_request(raw.encode("latin-1"))
    demand = policy.admit(head, Limits())
    written = headers.request(
        head, demand, peer=peer, scheme="https", request_id="id", trace=_TRACE
    )
    assert written.endswith(b"\r\n\r\n")
    return written.decode("latin-1").split("\r\n")[:-2]


def test_a_request_says_whom_it_is_from() -> None:
    lines = sent()
    assert lines[:2] == ["GET / HTTP/1.1", "host: a.test:8000"]
    assert {
        "x-forwarded-for: 10.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: a.test:8000",
        "x-forwarded-port: 8000",
        'forwarded: for=10.0.0.1;host="a.test:8000";proto=https',
        "x-request-id: id",
    } <= {*lines}


def test_an_ipv6_address_is_quoted_where_the_grammar_asks_for_it() -> None:
    lines = sent(peer="2001:db8::1")
    assert "x-forwarded-for: 2001:db8::1" in lines
    assert 'forwarded: for="[2001:db8::1]";host="a.test:8000";proto=https' in lines


def test_framing_is_written_anew() -> None:
    post = "POST / HTTP/1.1"
    assert "content-length: 7" in sent("Content-Length: 7", start=post)
    assert "content-length: 0" in sent("Content-Length: 0", start=post)
    assert "transfer-encoding: chunked" in sent("Transfer-Encoding: Chunked", start=post)
    assert not [line for line in sent(start=post) if line.startswith("content-length")]


def test_via_grows_and_fields_of_value_cannot_be_nominated_away() -> None:
    lines = sent("via: 1.0 cdn", "connection: authorization, x-gone", "authorization: kept",
                 "x-gone: 1")  # fmt: skip
    assert "via: 1.0 cdn, 1.1 zeitwork" in lines
    assert "authorization: kept" in lines
    assert "x-gone: 1" not in lines


def test_a_usable_trace_is_continued_and_any_other_begun() -> None:
    state = (b"tracestate", b"k=v")
    child = headers.trace_of([(b"traceparent", _PARENT.encode()), state], trace_id=1, span_id=2)
    assert child == Trace("a" * 32, f"00-{'a' * 32}-{2:016x}-00".encode(), b"k=v")
    zero = _PARENT.replace("a" * 32, "0" * 32)
    for parents in ([], [zero], [_PARENT.upper()], [_PARENT, _PARENT], ["junk"]):
        fields = [(b"traceparent", parent.encode()) for parent in parents]
        begun = headers.trace_of([*fields, state], trace_id=1, span_id=2)
        assert begun == Trace(f"{1:032x}", f"00-{1:032x}-{2:016x}-01".encode(), None)


@pytest.mark.parametrize(
    ("peername", "address"),
    [
        (("10.0.0.1", 1), "10.0.0.1"),
        (("::ffff:10.0.0.1", 1), "10.0.0.1"),
        (("fe80::1%eth0", 1), "fe80::1"),
        (None, "unknown"),
    ],
)
def test_an_address_is_written_one_way(peername: tuple[str, int] | None, address: str) -> None:
    assert headers.address_of(peername) == address


def test_a_response_gets_a_date_only_if_it_has_none() -> None:
    for fields, dates in ((b"", [b"now"]), (b"Date: then\r\n", [b"then"])):
        head = heads.parse_response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
        reply = policy.accept(head, method=b"GET")
        written = headers.response(head, reply, framing=b"", request_id="id", date=b"now")
        lines = written.split(b"\r\n")
        assert [line[6:] for line in lines if line.startswith(b"date: ")] == dates


def test_the_fate_of_a_connection_is_said_where_it_must_be() -> None:
    assert headers.connection(1, keep_alive=True) == b""
    assert headers.connection(0, keep_alive=True) == b"connection: keep-alive\r\n"
    assert headers.connection(1, keep_alive=False) == b"connection: close\r\n"
