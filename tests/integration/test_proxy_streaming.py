"""Bodies pass through as they come, in bounded memory, and break off visibly."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.support.edge import ask, get, proxying, visitor
from tests.support.eventually import eventually
from tests.support.upstreams import Head, Wire, instance, respond

_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNKED = get(fields="transfer-encoding: chunked\r\n").replace(b"GET", b"POST")
_PIECE = bytes(range(256)) * 256


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_each_chunk_of_a_response_arrives_before_the_next_is_sent() -> None:
    allowed: asyncio.Queue[bytes] = asyncio.Queue()

    async def events(wire: Wire) -> None:
        await wire.message()
        await wire.send(_SSE)
        while data := await allowed.get():
            await wire.send(_chunk(data))
        await wire.send(b"0\r\n\r\n")

    async with proxying() as proxy, instance(events) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get())
        head = await wire.head()
        assert head.one("transfer-encoding") == "chunked"
        for data in (b"one", b"two", b"three"):
            allowed.put_nowait(data)
            assert await wire.chunk() == data
        allowed.put_nowait(b"")
        assert await wire.chunk() == b""


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_each_piece_of_a_request_arrives_before_the_next_is_sent(framing: str) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    sent = [b"one", b"two", b"six"]

    async def script(wire: Wire) -> None:
        await wire.head()
        for _ in sent:
            arrived.put_nowait(await (wire.chunk() if framing == "chunked" else wire.exactly(3)))
        if framing == "chunked":
            assert await wire.chunk() == b""
        await wire.send(respond(b"all"))

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        length = get(fields="content-length: 9\r\n").replace(b"GET", b"POST")
        await wire.send(_CHUNKED if framing == "chunked" else length)
        for data in sent:
            await wire.send(_chunk(data) if framing == "chunked" else data)
            assert await asyncio.wait_for(arrived.get(), 15) == data
        await wire.send(b"0\r\n\r\n" if framing == "chunked" else b"")
        assert (await wire.message()).body == b"all"


async def test_both_bodies_stream_at_once() -> None:
    """An instance that answers while it is asked: neither side waits for the other's end."""

    async def echo(wire: Wire) -> None:
        await wire.head()
        await wire.send(_SSE)
        while data := await wire.chunk():
            await wire.send(_chunk(data.upper()))
        await wire.send(b"0\r\n\r\n")

    async with proxying() as proxy, instance(echo) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(_CHUNKED)
        assert (await wire.head()).status == 200
        for data in (b"a", b"b"):
            await wire.send(_chunk(data))
            assert await wire.chunk() == data.upper()
        await wire.send(b"0\r\n\r\n")
        assert await wire.chunk() == b""


async def test_large_bodies_pass_whole_both_ways() -> None:
    async def script(wire: Wire) -> None:
        head = await wire.head()
        length = await _digest(wire, head)
        await wire.send(b"HTTP/1.1 200 OK\r\nx-digest: " + length + b"\r\n\r\n")
        for _ in range(160):
            await wire.send(_PIECE)

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(_CHUNKED)
        for size in range(1, 161):
            await wire.send(_chunk(_PIECE[: size * 400]))
        await wire.send(b"0\r\n\r\n")
        head = await wire.head()
        whole = hashlib.sha256(b"".join(_PIECE[: size * 400] for size in range(1, 161)))
        assert head.one("x-digest") == whole.hexdigest()
        assert head.one("transfer-encoding") == "chunked"
        assert await wire.body(head) == _PIECE * 160


async def test_a_visitor_who_does_not_read_stops_the_instance_from_sending() -> None:
    """64 MiB are offered; what the proxy and the system hold of it must stay far below."""
    total = 1024 * len(_PIECE)
    taken = 0

    async def script(wire: Wire) -> None:
        nonlocal taken
        await wire.message()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while taken < total:
            await wire.send(_PIECE)
            taken += len(_PIECE)

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get())
        head = await wire.head()
        seen = [-1, -2, -3]

        def stopped() -> bool:
            seen.append(taken)
            return seen[-1] == seen[-2] == seen[-3]

        await eventually(stopped, interval=0.1)
        assert taken < total
        assert await proxy.unsent() < 1 << 20
        assert len(await wire.body(head)) == total


async def test_an_instance_that_does_not_read_stops_the_visitor_from_sending() -> None:
    reading = asyncio.Event()
    total = 1024 * len(_PIECE)

    async def script(wire: Wire) -> None:
        head = await wire.head()
        await reading.wait()
        await wire.send(respond(await _digest(wire, head)))

    sent = 0

    async def upload(wire: Wire) -> None:
        nonlocal sent
        while sent < total:
            await wire.send(_PIECE)
            sent += len(_PIECE)

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get(fields=f"content-length: {total}\r\n").replace(b"GET", b"PUT"))
        uploading = asyncio.ensure_future(upload(wire))
        seen = [-1, -2, -3]

        def stopped() -> bool:
            seen.append(sent)
            return seen[-1] == seen[-2] == seen[-3] > 0

        await eventually(stopped, interval=0.1)
        assert sent < total
        reading.set()
        await uploading
        assert (await wire.message()).body == hashlib.sha256(_PIECE * 1024).hexdigest().encode()


@pytest.mark.parametrize(
    "answer",
    [
        _SSE,
        _SSE + b"2\r\nab\r\n5\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n\r\nab",
    ],
)
async def test_an_instance_that_dies_mid_response_breaks_the_visitors_connection(
    answer: bytes,
) -> None:
    """It must not look complete: no last chunk, no FIN that ends a body without a length."""
    seen = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.message()
        await wire.send(answer)
        await seen.wait()  # a reset at once could overtake the bytes
        wire.reset()

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get())
        await wire.head()
        seen.set()
        with pytest.raises(ConnectionResetError):
            await wire.rest()
        assert proxy.requests()[-1]["error"] == "instance_closed"


async def test_a_response_that_ends_with_its_connection_arrives_whole() -> None:
    async def script(wire: Wire) -> None:
        await wire.message()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        for _ in range(2):
            await wire.send(get())
            assert (await wire.message()).body == b"all of it"


async def test_a_stream_that_falls_silent_is_cut_off_on_both_sides() -> None:
    async def script(wire: Wire) -> None:
        await wire.message()
        await wire.send(_SSE + _chunk(b"ab"))
        await wire.gone()

    async with (
        proxying(body_idle_seconds=0.3) as proxy,
        instance(script) as one,
        visitor(proxy) as wire,
    ):
        await proxy.route("a.test", one)
        await wire.send(get())
        with pytest.raises(ConnectionResetError):
            await wire.rest()
        assert proxy.requests()[-1]["error"] == "instance_timeout"


@pytest.mark.parametrize("when", ["before the answer", "during the answer", "during the request"])
async def test_a_visitor_who_leaves_frees_the_instance(when: str) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        if when == "during the answer":
            await wire.send(_SSE + _chunk(b"ab"))
        begun.set()
        await wire.gone()
        left.set()

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(_CHUNKED if when == "during the request" else get())
        await asyncio.wait_for(begun.wait(), 15)
        if when == "during the answer":
            await wire.head()
            await wire.chunk()
        wire.reset()
        await asyncio.wait_for(left.wait(), 15)
        assert await proxy.in_flight() == 0
        assert proxy.requests()[-1]["error"] == "client_gone"


async def test_a_visitor_who_leaves_in_order_frees_the_instance_too() -> None:
    """FIN may mean "that is all": the request has some time, but not for ever."""
    left = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.message()
        await wire.gone()
        left.set()

    async with proxying(half_close_seconds=0.2) as proxy, instance(script) as one:
        await proxy.route("a.test", one)
        async with visitor(proxy) as wire:
            await wire.send(get())
            await eventually(lambda: one.visits)
            wire.finish()
            await asyncio.wait_for(left.wait(), 15)


async def test_an_early_answer_ends_the_upload_and_arrives() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.chunk() == b"ab"
        await wire.send(respond(b"too much", status="413 Content Too Large"))
        await wire.gone()

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(_CHUNKED + _chunk(b"ab"))
        answer = await wire.message()
        assert (answer.status, answer.body) == (413, b"too much")
        assert await wire.rest() == b""


async def test_a_whole_response_leaves_its_connection_for_the_next_visitor() -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.message()
            await wire.send(_SSE + _chunk(b"ab") + b"0\r\nx-trailer: 1\r\n\r\n")

    async with proxying() as proxy, instance(script) as one:
        await proxy.route("a.test", one)
        for _ in range(3):
            assert (await ask(proxy, get())).body == b"ab"
        assert len(one.visits) == 1
        assert await proxy.idle() == 1


async def _digest(wire: Wire, head: Head) -> bytes:
    return hashlib.sha256(await wire.body(head)).hexdigest().encode()
