"""What hostile clients send: refused before an instance sees any of it, at a bounded cost."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.edge import Proxy, ask, get, proxying, visitor
from tests.support.eventually import eventually
from tests.support.upstreams import Message, Wire, answering, instance, respond, saying

_POST = b"POST / HTTP/1.1\r\nhost: a.test\r\n"
_CHUNKED = _POST + b"transfer-encoding: chunked\r\n\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n"


async def refused(request: bytes, *, status: int | None = 400, proxied: bool = False) -> str:
    """Send it to a proxy with a route; the code of the refusal.

    The answer is the only one, the connection ends behind it, and no instance saw a request
    (unless `proxied`, where the fault is in the body and the head may have gone on).
    """
    seen: list[str] = []

    def answer(got: Message) -> bytes:
        seen.append(got.head.start)
        return respond(b"reached")

    async with proxying() as proxy, instance(answering(answer)) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(request)
        page = await wire.message()
        assert await wire.rest() == b""
        assert status in (page.status, None), page
        assert page.head.one("connection") == "close"
        assert seen == []
        assert proxied or one.visits == []
        return page.head.one("x-zeitwork-error") or ""


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        b"content-length: 4\r\ncontent-length: 4\r\n",
        b"content-length: 4\r\ncontent-length: 44\r\n",
        b"content-length: 4, 4\r\n",
        b"content-length: +4\r\n",
        b"content-length: -4\r\n",
        b"content-length: 04\r\n",
        b"content-length: 0x4\r\n",
        b"content-length: 4 4\r\n",
        b"content-length:\r\n",
        b"content-length: 99999999999999999999999\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"content-length : 4\r\n",
        b"content-length\t: 4\r\n",
        b" content-length: 4\r\n",
        b"x: a\r\n content-length: 4\r\n",
        b"x: a\r\n\tfolded\r\n",
        b"x: a\ncontent-length: 4\r\n",
        b"x: a\rcontent-length: 4\r\n",
        b"x: a\x00b\r\n",
        b"x: a\x0bb\r\n",
        b"no colon\r\n",
        b": no name\r\n",
        b"x\xc3\xa4: a\r\n",
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_refused(fields: bytes) -> None:
    await refused(_POST + fields + b"\r\n0\r\n\r\n" + _SMUGGLED)


@pytest.mark.parametrize(
    "encoding", [b"gzip, chunked", b"identity", b"xchunked", b"chunked, identity", b"\x0bchunked"]
)
async def test_a_transfer_coding_other_than_chunked_is_refused(encoding: bytes) -> None:
    request = _POST + b"transfer-encoding: " + encoding + b"\r\n\r\n0\r\n\r\n" + _SMUGGLED
    await refused(request, status=None)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nab\r\n0\r\n\r\n",
        b"0x2\r\nab\r\n0\r\n\r\n",
        b"-2\r\nab\r\n0\r\n\r\n",
        b" 2\r\nab\r\n0\r\n\r\n",
        b"2 \r\nab\r\n0\r\n\r\n",
        b"2\nab\n0\n\n\r\n",
        b"2\r\nabc\r\n0\r\n\r\n",
        b"2\r\nab0\r\n\r\n",
        b"2;a\nb\r\nab\r\n0\r\n\r\n",
        b"\r\n2\r\nab\r\n0\r\n\r\n",
        b"11111111111111111\r\n",
        b"2;" + b"x" * 2000 + b"\r\nab\r\n0\r\n\r\n",
        b"0\r\nnot a field\r\n\r\n",
        b"0\r\nx: a\nb: c\r\n\r\n",
    ],
)
async def test_a_chunk_that_breaks_the_framing_is_refused(body: bytes) -> None:
    assert await refused(_CHUNKED + body + _SMUGGLED, proxied=True) == "bad_body_framing"


async def test_a_framing_error_later_in_a_body_ends_request_and_connection() -> None:
    """The instance has the first chunk by then; it must see the request break off, not end."""
    broken = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.chunk() == b"ab"
        await wire.gone()
        broken.set()

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(_CHUNKED + b"2\r\nab\r\n")
        await eventually(lambda: one.visits)
        await wire.send(b"zz\r\n" + _SMUGGLED)
        assert (await wire.message()).status == 400
        assert await wire.rest() == b""
        await asyncio.wait_for(broken.wait(), 15)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\nhost: a.test\n\n\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET /#x HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET a.test HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET ftp://a.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a.test\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: a.test\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n", 405),
        (b"NONSENSE / HTTP/1.1\r\nhost: a.test\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nhost: a.test\r\nexpect: tea\r\n\r\n", 417),
    ],
)
async def test_a_start_line_that_is_not_http_1_is_refused(head: bytes, status: int) -> None:
    await refused(head, status=status)


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"host:\r\n",
        b"host: a.test\r\nhost: a.test\r\n",
        b"host: a.test\r\nHost: b.test\r\n",
        b"host: a.test, b.test\r\n",
        b"host: a.test b.test\r\n",
        b"host: user@a.test\r\n",
        b"host: a.test/path\r\n",
        b"host: a..test\r\n",
        b"host: .a.test\r\n",
        b"host: a.test:\r\n",
        b"host: a.test:99999\r\n",
        b"host: a.test:80:80\r\n",
        b"host: a.te\xc3\xa4st\r\n",
        b"host: a%2etest\r\n",
        b"host: " + b"a" * 64 + b".test\r\n",
        b"host: " + b"a." * 130 + b"test\r\n",
    ],
)
async def test_a_request_without_exactly_one_valid_host_is_refused(hosts: bytes) -> None:
    assert await refused(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n") == "bad_host"


async def test_a_target_with_another_authority_than_the_host_is_refused() -> None:
    request = b"GET http://b.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n"
    assert await refused(request) == "bad_host"


async def test_an_absolute_target_reaches_the_instance_in_origin_form() -> None:
    script = answering(lambda got: respond(got.head.start.encode()))
    async with proxying() as proxy, instance(script) as one:
        await proxy.route("a.test", one)
        answer = await ask(proxy, b"GET http://A.test?q HTTP/1.1\r\nhost: a.test\r\n\r\n")
        assert answer.body == b"GET /?q HTTP/1.1"


async def test_sizes_are_bounded_and_their_limits_usable() -> None:
    limits = {"request_line_bytes": 200, "request_head_bytes": 400, "body_bytes": 1000}
    async with proxying(**limits) as proxy, instance(saying(b"x")) as one:
        await proxy.route("a.test", one)

        async def status(request: bytes) -> int:
            return (await ask(proxy, request)).status

        line = len("GET / HTTP/1.1\r\n")
        assert await status(get("/" + "a" * (200 - line))) == 200
        assert await status(get("/" + "a" * (201 - line))) == 414
        head = len(get(fields="x: \r\n"))
        assert await status(get(fields=f"x: {'a' * (400 - head)}\r\n")) == 200
        assert await status(get(fields=f"x: {'a' * (401 - head)}\r\n")) == 431
        body = _POST + b"content-length: %d\r\n\r\n"
        assert await status(body % 1000 + b"a" * 1000) == 200
        assert await status(body % 1001) == 413
        chunks = b"200\r\n" + b"a" * 512 + b"\r\n"
        assert await status(_CHUNKED + chunks + b"0\r\n\r\n") == 200
        assert await status(_CHUNKED + chunks * 2) == 413


async def test_the_number_of_fields_is_bounded() -> None:
    async with proxying() as proxy, instance(saying(b"x")) as one:
        await proxy.route("a.test", one)
        assert (await ask(proxy, get(fields="x: 1\r\n" * 99))).status == 200
        assert (await ask(proxy, get(fields="x: 1\r\n" * 100))).status == 431


async def test_a_head_that_trickles_in_is_cut_off() -> None:
    async with proxying(head_seconds=0.3) as proxy, visitor(proxy) as wire:
        await wire.send(b"GET / HTTP/1.1\r\n")
        trickle = asyncio.ensure_future(_trickle(wire, b"x: 1\r\n"))
        page = await wire.message()
        assert (page.status, page.head.one("x-zeitwork-error")) == (408, "request_timeout")
        await wire.gone()
        trickle.cancel()
        await eventually(lambda: not proxy.server.connections)


async def test_a_connection_that_says_nothing_is_closed_without_an_answer() -> None:
    async with proxying(head_seconds=0.2) as proxy, visitor(proxy) as wire:
        assert await wire.rest() == b""


async def test_a_kept_connection_that_says_nothing_more_is_closed_without_an_answer() -> None:
    async with proxying(keep_alive_seconds=0.2) as proxy, visitor(proxy) as wire:
        await wire.send(get())
        await wire.message()
        assert await wire.rest() == b""


async def test_a_body_that_stops_is_cut_off_on_both_sides() -> None:
    cut = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.exactly(2) == b"ab"
        await wire.gone()
        cut.set()

    async with (
        proxying(body_idle_seconds=0.3) as proxy,
        instance(script) as one,
        visitor(proxy) as wire,
    ):
        await proxy.route("a.test", one)
        await wire.send(_POST + b"content-length: 10\r\n\r\nab")
        assert (await wire.message()).status == 408
        await asyncio.wait_for(cut.wait(), 15)


async def test_connections_beyond_the_limit_are_turned_away() -> None:
    async with proxying(connections=1) as proxy:
        async with visitor(proxy) as first:
            await first.send(get())
            await first.message()
            async with visitor(proxy) as second:
                second.send_unread(get())
                await second.gone()
        await eventually(lambda: not proxy.server.connections)
        assert (await ask(proxy, get())).status == 404


async def test_one_client_cannot_take_all_connections() -> None:
    async with proxying(client_connections=2) as proxy:
        async with visitor(proxy) as one, visitor(proxy) as two:
            for wire in (one, two):
                await wire.send(get())
                await wire.message()
            async with visitor(proxy) as third:
                third.send_unread(get())
                await third.gone()
        await eventually(lambda: not proxy.server.connections)
        assert proxy.server._clients == {}
        assert (await ask(proxy, get())).status == 404


@pytest.mark.parametrize("limit", ["client_rate", "project_rate"])
async def test_requests_beyond_a_rate_are_told_when_to_come_again(limit: str) -> None:
    rate = {limit: 0.01, "rate_burst_seconds": 300.0}
    async with proxying(**rate) as proxy, instance(saying(b"x")) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await proxy.route("b.test", one)
        pages = []
        for _ in range(5):
            await wire.send(get())
            pages.append(await wire.message())
        assert [page.status for page in pages] == [200, 200, 200, 429, 429]
        page = pages[-1]
        assert page.head.one("x-zeitwork-error") == "rate_limited"
        assert 0 < int(page.head.one("retry-after") or 0) <= 100
        # The connection stays, and another project has a rate of its own.
        await wire.send(get(host="b.test"))
        assert (await wire.message()).status == 200


async def test_a_body_that_trickles_is_cut_off_although_it_is_never_silent() -> None:
    limits = {"body_idle_seconds": 0.5, "body_bytes_per_second": 1e6}
    async with (
        proxying(**limits) as proxy,
        instance(saying(b"x")) as one,
        visitor(proxy) as wire,
    ):
        await proxy.route("a.test", one)
        await wire.send(_POST + b"content-length: 100000\r\n\r\n")
        trickle = asyncio.ensure_future(_trickle(wire, b"a"))
        page = await wire.message()
        assert (page.status, page.head.one("x-zeitwork-error")) == (408, "request_timeout")
        trickle.cancel()
        await asyncio.gather(trickle, return_exceptions=True)


@pytest.mark.parametrize("host", ["a.test", "unknown.test"])
async def test_pipelined_requests_whose_answers_nobody_reads_cost_bounded_memory(
    host: str,
) -> None:
    async with proxying() as proxy, instance(saying(b"x" * 2000)) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        flood = get(host=host) * 100_000
        wire.send_unread(flood)
        unsent = await _settled(proxy)
        assert unsent < 4 * proxy.edge.limits.high_water_bytes
        (connection,) = proxy.server.connections
        assert len(connection._rest) < proxy.edge.limits.pipeline_bytes + 512 * 1024
        for _ in range(2000):  # and it goes on once somebody reads
            await wire.message()


async def test_the_log_has_no_query_and_every_request_once() -> None:
    async with proxying() as proxy, instance(saying(b"x")) as one:
        await proxy.route("a.test", one)
        await ask(proxy, get("/p?token=t0psecret"))
        await ask(proxy, get(host="b.test"))
        await ask(proxy, b"nonsense\r\n\r\n")
        await eventually(lambda: len(proxy.requests()) == 3)
        lines = proxy.requests()
        assert [line["status"] for line in lines] == [200, 404, 400]
        assert lines[0]["path"] == "/p"
        assert lines[0]["instance_id"] == one.target.instance_id
        assert "t0psecret" not in str(lines)


async def _trickle(wire: Wire, piece: bytes) -> None:
    while True:
        await wire.send(piece)
        await asyncio.sleep(0.02)


async def _settled(proxy: Proxy) -> int:
    """Unsent bytes, once they stop growing."""
    seen = [-1, -2, -3]

    async def steady() -> bool:
        seen.append(await proxy.unsent())
        return seen[-1] == seen[-2] == seen[-3] > 0

    await eventually(steady, interval=0.1)
    return seen[-1]
