"""The same bytes cut at every position: what is answered never depends on how they came."""

from __future__ import annotations

import pytest

from tests.support.edge import Proxy, proxying, visitor
from tests.support.upstreams import Message, Wire, answering, instance, respond

_CHUNKED = b"POST /1 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
_GOOD = (
    b"\r\n" + _CHUNKED + b'3;x="y"\r\nabc\r\n1\r\nd\r\n0\r\nx-trailer: 1\r\n\r\n'
    b"POST /2 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nfghij"
    b"GET /3 HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n"
)
_HOSTILE = [
    b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
    b"GET / HTTP/1.1\r\nhost: a.test\r\nhost: b.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a.test\r\nx: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a.test\r\nx: 1\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a.test\r\nx: a\nb: c\r\n\r\n",
    b"CONNECT a.test:1 HTTP/1.1\r\nhost: a.test:1\r\n\r\n",
    _CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    _CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
]


async def test_pipelined_bodies_arrive_whole_wherever_they_are_cut() -> None:
    script = answering(lambda got: respond(got.head.start.split()[1].encode() + b"=" + got.body))
    async with proxying() as proxy, instance(script) as one:
        await proxy.route("a.test", one)
        for at in range(1, len(_GOOD)):
            async with visitor(proxy) as wire:
                await _in_two(proxy, wire, _GOOD, at)
                bodies = [(await wire.message()).body for _ in range(3)]
                assert bodies == [b"/1=abcd", b"/2=fghij", b"/3="], at
                assert await wire.rest() == b""


@pytest.mark.parametrize("request_", _HOSTILE)
async def test_what_is_refused_is_refused_wherever_it_is_cut(request_: bytes) -> None:
    seen: list[str] = []

    def answer(got: Message) -> bytes:
        seen.append(got.head.start)
        return respond(b"reached")

    async with proxying() as proxy, instance(answering(answer)) as one:
        await proxy.route("a.test", one)
        codes = set()
        for at in range(1, len(request_)):
            async with visitor(proxy) as wire:
                await _in_two(proxy, wire, request_, at)
                page = await wire.message()
                codes.add((page.status, page.head.one("x-zeitwork-error")))
                assert await wire.rest() == b""
        assert len(codes) == 1
        assert seen == []


async def _in_two(proxy: Proxy, wire: Wire, data: bytes, at: int) -> None:
    """Send it such that the proxy has read the first part before the second exists."""
    await wire.send(data[:at])
    for _ in range(2):  # a round trip to its loop is at least one look at its sockets
        await proxy.call(lambda: None)
    await wire.send(data[at:])
