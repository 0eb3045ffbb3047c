"""WebSocket and the end of connections: tunnels, switches of instances, and a stopping proxy."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.edge import Proxy, get, proxying, visitor
from tests.support.eventually import eventually
from tests.support.upstreams import SECONDS, Instance, Wire, instance, respond, saying

_UPGRADE = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-key: eA==\r\n"
_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: x\r\n\r\n"
)


async def _echo(wire: Wire) -> None:
    head = await wire.head()
    assert (head.one("connection"), head.one("upgrade")) == ("upgrade", "websocket")
    assert head.one("sec-websocket-key") == "eA=="
    await wire.send(_SWITCH + b"hello")
    while data := await wire.read():
        await wire.send(data.upper())


async def test_bytes_pass_both_ways_until_the_visitor_closes() -> None:
    async with proxying() as proxy, instance(_echo) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        # What is sent before the 101 belongs to the other protocol already.
        await wire.send(get(fields=_UPGRADE) + b"early")
        head = await wire.head()
        assert (head.status, head.one("sec-websocket-accept")) == (101, "x")
        assert await wire.exactly(10) == b"helloEARLY"
        for data in (b"a", b"b" * 300_000):
            wire.send_unread(data)
            assert await wire.exactly(len(data)) == data.upper()
        wire.finish()
        assert await wire.rest() == b""
        await eventually(proxy.requests)
        (line,) = proxy.requests()
        assert (line["status"], line["bytes_received"]) == (101, 300_006)
        assert await proxy.in_flight() == 0


async def test_what_the_instance_sends_last_arrives_before_its_close() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(_SWITCH + b"x" * 500_000)

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get(fields=_UPGRADE))
        await wire.head()
        assert len(await wire.rest()) == 500_000


async def test_a_declined_upgrade_is_an_ordinary_answer_and_ends_the_connection() -> None:
    """Else bytes meant for the other protocol could be read as a request."""
    async with proxying() as proxy, instance(saying(b"no")) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get(fields=_UPGRADE) + get("/smuggled"))
        answer = await wire.message()
        assert (answer.status, answer.head.one("connection")) == (200, "close")
        assert await wire.rest() == b""
        assert len(proxy.requests()) == 1


async def test_a_switch_that_nobody_asked_for_is_refused() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(_SWITCH)
        await wire.gone()

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get())
        assert (await wire.message()).status == 502


async def test_a_silent_tunnel_is_closed_on_both_sides() -> None:
    async with proxying(tunnel_idle_seconds=0.2) as proxy, instance(_echo) as one:
        await proxy.route("a.test", one)
        async with visitor(proxy) as wire:
            await wire.send(get(fields=_UPGRADE))
            await wire.head()
            # Behind it may come the instance's echo of the goodbye.
            assert (await wire.rest()).startswith(b"hello")
        await eventually(lambda: not proxy.server.connections)


@pytest.mark.parametrize("how", ["reading", "not reading"])
async def test_a_tunnel_holds_back_who_is_not_read(how: str) -> None:
    taken = 0
    piece = b"x" * 65536

    async def script(wire: Wire) -> None:
        nonlocal taken
        await wire.head()
        await wire.send(_SWITCH)
        for _ in range(512):
            await wire.send(piece)
            taken += len(piece)

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get(fields=_UPGRADE))
        await wire.head()
        if how == "not reading":
            seen = [-1, -2, -3]

            def stopped() -> bool:
                seen.append(taken)
                return seen[-1] == seen[-2] == seen[-3] > 0

            await eventually(stopped, interval=0.1)
            assert await proxy.unsent() < 1 << 20
        assert len(await wire.rest()) == 512 * len(piece)


async def test_after_a_switch_old_requests_and_tunnels_finish_and_new_ones_go_elsewhere() -> None:
    release = asyncio.Event()

    async def old(wire: Wire) -> None:
        if "upgrade" in str((head := await wire.head()).fields):
            await wire.send(_SWITCH)
            await wire.send((await wire.read()).upper())
            return
        assert head.start == "GET / HTTP/1.1"
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nold")
        await release.wait()
        await wire.send(b"end")
        await wire.gone()

    async with proxying() as proxy, instance(old) as one, instance(saying(b"new")) as two:
        await proxy.route("a.test", one)
        async with visitor(proxy) as slow, visitor(proxy) as tunnel, visitor(proxy) as fresh:
            await slow.send(get())
            assert (await slow.head()).status == 200
            await tunnel.send(get(fields=_UPGRADE))
            assert (await tunnel.head()).status == 101

            await proxy.route("a.test", two)
            await fresh.send(get())
            assert (await fresh.message()).body == b"new"
            await tunnel.send(b"still here")
            assert await tunnel.exactly(10) == b"STILL HERE"
            release.set()
            assert await slow.exactly(6) == b"oldend"
            # The connection stays, and its next request goes to where the route leads now.
            await slow.send(get())
            assert (await slow.message()).body == b"new"
        await asyncio.wait_for(one.visits[0].gone(), SECONDS)


async def test_a_switch_closes_idle_connections_to_the_old_instance() -> None:
    async with proxying() as proxy, instance(_once) as one, instance(saying(b"x")) as two:
        await proxy.route("a.test", one)
        async with visitor(proxy) as wire:
            await wire.send(get())
            await wire.message()
            assert await proxy.idle() == 1
            await proxy.route("a.test", two)
            assert await proxy.idle() == 0
        await eventually(one.visits[0]._reader.at_eof)


async def test_many_switches_under_load_fail_no_request() -> None:
    """Each request is answered by an instance that had the route while it was made."""
    async with (
        proxying() as proxy,
        instance(saying(b"1")) as one,
        instance(saying(b"2")) as two,
        visitor(proxy) as kept,
    ):
        await proxy.route("a.test", one)
        answers = []
        switching = asyncio.ensure_future(_switch(proxy, one, two))
        for _ in range(500):
            await kept.send(get())
            answers.append((await kept.message()).body)
        await switching
        assert set(answers) == {b"1", b"2"}


async def test_a_stopping_proxy_finishes_what_it_has_and_takes_no_more() -> None:
    release = asyncio.Event()

    async def slow(wire: Wire) -> None:
        await wire.message()
        await release.wait()
        await wire.send(respond(b"finished"))

    async with proxying() as proxy, instance(slow) as one:
        await proxy.route("a.test", one)
        port = proxy.port
        async with visitor(proxy) as busy, visitor(proxy) as idle:
            await idle.send(get(host="b.test"))
            await idle.message()
            await busy.send(get())
            await eventually(lambda: one.visits)
            stopping = asyncio.ensure_future(proxy.run(proxy.server.stop()))
            assert await idle.rest() == b""
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", port)
            assert not stopping.done()
            release.set()
            answer = await busy.message()
            assert (answer.body, answer.head.one("connection")) == (b"finished", "close")
            await stopping


async def test_a_stopping_proxy_closes_tunnels_and_does_not_wait_for_them() -> None:
    async with proxying() as proxy, instance(_echo) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get(fields=_UPGRADE))
        await wire.head()
        await proxy.run(proxy.server.stop())
        assert (await wire.rest()).startswith(b"hello")


async def _once(wire: Wire) -> None:
    await wire.message()
    await wire.send(respond(b"x"))
    await wire.gone()


async def _switch(proxy: Proxy, *targets: Instance) -> None:
    for number in range(60):
        await proxy.route("a.test", targets[number % len(targets)])
        await asyncio.sleep(0.005)
