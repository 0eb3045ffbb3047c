"""What may pass, and where its body ends."""

from __future__ import annotations

import pytest

from proxy import heads, policy
from proxy.framing import BadFraming, ChunkedBody, EndlessBody, LengthBody
from proxy.limits import Limits
from proxy.policy import Authority, Demand, Reply
from proxy.refusals import Refused


def admit(start: str, *fields: str) -> Demand:
    raw = "".join(f"{line}\r\n" for line in (start, *fields)) + "\r\n"
    return policy.admit(heads.parse_request(raw.encode("latin-1")), Limits())


def accept(status: str, *fields: str, method: bytes = b"GET", version: str = "1.1") -> Reply:
    raw = "".join(f"{line}\r\n" for line in (f"HTTP/{version} {status} X", *fields)) + "\r\n"
    return policy.accept(heads.parse_response(raw.encode("latin-1")), method=method)


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (b"a.test", "a.test", None),
        (b"A.Test.:0443", "a.test", 443),
        (b"localhost", "localhost", None),
        (b"127.0.0.1:80", "127.0.0.1", 80),
        (b"[::1]:8080", "[::1]", 8080),
        (b"xn--e1afmkfd.test", "xn--e1afmkfd.test", None),
        (b"my_app-1.test", "my_app-1.test", None),
    ],
)
def test_a_host_is_split_and_made_comparable(value: bytes, host: str, port: int | None) -> None:
    assert policy.parse_authority(value) == Authority(host, port)


@pytest.mark.parametrize(
    ("start", "keeps"),
    [
        (("GET / HTTP/1.1", "host: a"), True),
        (("GET / HTTP/1.1", "host: a", "connection: x, Close"), False),
        (("GET / HTTP/1.1", "host: a", "connection: x", "connection: close"), False),
        (("GET / HTTP/1.0", "host: a"), False),
        (("GET / HTTP/1.0", "host: a", "connection: Keep-Alive"), True),
        (("GET / HTTP/1.0", "host: a", "connection: keep-alive, close"), False),
    ],
)
def test_whether_a_connection_is_kept(start: tuple[str, ...], keeps: object) -> None:
    assert admit(*start).keep_alive is keeps


def test_where_a_request_ends() -> None:
    get = ("GET / HTTP/1.1", "host: a")
    assert admit(*get).reader() is None
    assert admit(*get, "content-length: 0").reader() is None
    assert isinstance(admit(*get, "content-length: 5").reader(), LengthBody)
    assert isinstance(admit(*get, "transfer-encoding: Chunked").reader(), ChunkedBody)


def test_chunked_is_not_for_http_1_0() -> None:
    with pytest.raises(Refused):
        admit("POST / HTTP/1.0", "host: a", "transfer-encoding: chunked")


def test_http_1_0_may_do_without_a_host_but_reaches_nobody() -> None:
    assert admit("GET / HTTP/1.0").host == ""


def test_targets_come_out_in_origin_form() -> None:
    assert admit("GET http://A:80/p?q HTTP/1.1", "host: a:80").target == b"/p?q"
    assert admit("OPTIONS http://a HTTP/1.1", "host: a").target == b"*"
    assert admit("OPTIONS * HTTP/1.1", "host: a").target == b"*"
    assert admit("GET //b/ HTTP/1.1", "host: a").target == b"//b/"
    with pytest.raises(Refused):
        admit("GET http://a:81/ HTTP/1.1", "host: a")


def test_an_upgrade_is_to_websocket_by_get_and_without_a_body() -> None:
    upgrade = ("host: a", "connection: x, Upgrade", "upgrade: WebSocket")
    assert admit("GET / HTTP/1.1", *upgrade).websocket
    assert not admit("GET / HTTP/1.0", *upgrade).websocket
    assert not admit("POST / HTTP/1.1", *upgrade).websocket
    assert not admit("GET / HTTP/1.1", "host: a", "upgrade: websocket").websocket
    assert not admit("GET / HTTP/1.1", *upgrade, "upgrade: h2c").websocket
    with pytest.raises(Refused):
        admit("GET / HTTP/1.1", *upgrade, "content-length: 1")


def test_100_continue_is_for_requests_with_a_body() -> None:
    fields = ("host: a", "expect: 100-Continue")
    assert admit("PUT / HTTP/1.1", *fields, "content-length: 1").continues
    assert not admit("PUT / HTTP/1.1", *fields).continues
    assert not admit("PUT / HTTP/1.0", *fields, "content-length: 1").continues


def test_where_a_response_ends() -> None:
    assert isinstance(accept("200", "content-length: 5").reader, LengthBody)
    assert isinstance(accept("200", "transfer-encoding: chunked").reader, ChunkedBody)
    assert isinstance(accept("200").reader, EndlessBody)
    assert accept("200", "content-length: 0").reader is None
    for reply in (
        accept("204", "content-length: 5"),
        accept("304", "transfer-encoding: chunked"),
        accept("200", "content-length: 5", method=b"HEAD"),
    ):
        assert reply.reader is None
    assert accept("204", "content-length: 5").length is None
    assert accept("200", "content-length: 5", method=b"HEAD").length == 5


def test_when_an_instances_connection_can_be_used_again() -> None:
    assert accept("200", "content-length: 0").reusable
    assert not accept("200").reusable
    assert not accept("200", "content-length: 0", "connection: Close").reusable
    assert not accept("200", "content-length: 0", version="1.0").reusable


@pytest.mark.parametrize(
    "fields",
    [
        ("content-length: 1", "content-length: 1"),
        ("content-length: 1, 1",),
        ("transfer-encoding: chunked", "content-length: 1"),
        ("transfer-encoding: gzip, chunked",),
        ("transfer-encoding: chunked", "transfer-encoding: chunked"),
    ],
)
def test_a_response_whose_end_is_not_certain_is_refused(fields: tuple[str, ...]) -> None:
    with pytest.raises(BadFraming):
        accept("200", *fields)
    with pytest.raises(BadFraming):
        accept("200", *fields, method=b"HEAD")
