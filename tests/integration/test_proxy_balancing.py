"""Instances that fail: who gets the next request, what is sent twice, and what never is."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.edge import Proxy, ask, get, proxying, visitor
from tests.support.eventually import eventually
from tests.support.upstreams import (
    SECONDS,
    Instance,
    Message,
    Script,
    Wire,
    answering,
    instance,
    refusing,
    respond,
    saying,
)

_POST = get(fields="content-length: 2\r\n").replace(b"GET", b"POST") + b"ab"
_UPGRADE = get(fields="connection: upgrade\r\nupgrade: websocket\r\n")
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def dying(seen: list[str]) -> Script:
    """Takes a request and resets the connection without a byte of an answer."""

    async def script(wire: Wire) -> None:
        seen.append((await wire.message()).head.start)
        wire.reset()

    return script


def counting(seen: list[str], body: bytes = b"well") -> Script:
    def answer(got: Message) -> bytes:
        seen.append(got.head.start)
        return respond(body)

    return answering(answer)


async def test_a_get_that_an_instance_dropped_is_answered_by_another() -> None:
    dead: list[str] = []
    well: list[str] = []
    async with (
        proxying() as proxy,
        instance(dying(dead)) as one,
        instance(counting(well)) as two,
    ):
        await proxy.route("a.test", one, two)
        for _ in range(20):
            assert (await ask(proxy, get())).body == b"well"
        assert len(well) == 20
        assert dead, "chance never led to the instance that drops requests"
        assert await proxy.in_flight() == 0


async def test_a_post_is_never_executed_twice() -> None:
    dead: list[str] = []
    well: list[str] = []
    async with (
        proxying() as proxy,
        instance(dying(dead)) as one,
        instance(counting(well)) as two,
    ):
        await proxy.route("a.test", one, two)
        answers = [(await ask(proxy, _POST)).status for _ in range(30)]
        assert len(dead) + len(well) == 30
        assert (answers.count(200), answers.count(502)) == (len(well), len(dead))
        assert dead


async def test_a_request_with_bytes_of_an_answer_is_not_sent_again() -> None:
    async def half(wire: Wire) -> None:
        await wire.message()
        await wire.send(b"HTTP/1.1 200 OK\r\ncont")
        wire.close()

    well: list[str] = []
    async with (
        proxying() as proxy,
        instance(half) as one,
        instance(counting(well)) as two,
    ):
        await proxy.route("a.test", one, two)
        answers = [(await ask(proxy, get())).status for _ in range(20)]
        assert answers.count(502) == 20 - len(well) == len(one.visits)
        assert one.visits


async def test_an_instance_that_fails_five_times_in_a_row_is_ejected() -> None:
    async with (
        proxying() as proxy,
        instance(answering(lambda _: respond(b"bad", status="500 Oops"))) as one,
        instance(saying(b"well")) as two,
    ):
        await proxy.route("a.test", one, two)
        statuses = [(await ask(proxy, get())).status for _ in range(100)]
        assert statuses.count(500) == 5
        # Alone it would still be asked: a wrong guess must not be an outage.
        await proxy.route("a.test", one)
        assert (await ask(proxy, get())).status == 500


async def test_the_only_instance_is_asked_however_often_it_fails() -> None:
    async with (
        proxying() as proxy,
        instance(answering(lambda _: respond(b"bad", status="503 Oops"))) as one,
    ):
        await proxy.route("a.test", one)
        bodies = [(await ask(proxy, get())).body for _ in range(12)]
        assert bodies == [b"bad"] * 12


async def test_an_instance_with_all_the_requests_it_may_have_gets_no_more() -> None:
    release = asyncio.Event()

    async def slow(wire: Wire) -> None:
        await wire.message()
        await release.wait()
        await wire.send(respond(b"done"))

    async with proxying(instance_requests=2) as proxy, instance(slow) as one:
        await proxy.route("a.test", one)
        held = [asyncio.ensure_future(ask(proxy, get())) for _ in range(2)]
        await eventually(lambda: len(one.visits) == 2)
        page = await ask(proxy, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (503, "instances_busy")
        assert page.head.one("retry-after") == "1"
        assert len(one.visits) == 2
        release.set()
        assert [answer.body for answer in await asyncio.gather(*held)] == [b"done"] * 2
        assert (await ask(proxy, get())).body == b"done"


async def test_retries_stop_where_the_budget_ends() -> None:
    """All instances hold their request, then all drop it: what follows is not a storm."""
    drop = asyncio.Event()
    requests = 0

    async def dropping(wire: Wire) -> None:
        nonlocal requests
        await wire.message()
        requests += 1
        await drop.wait()
        wire.reset()

    async with (
        proxying() as proxy,
        instance(dropping) as one,
        instance(dropping) as two,
        instance(dropping) as three,
    ):
        await proxy.route("a.test", one, two, three)
        asking = [asyncio.ensure_future(ask(proxy, get())) for _ in range(40)]
        await eventually(lambda: requests == 40)
        drop.set()
        assert {answer.status for answer in await asyncio.gather(*asking)} == {502}
        # Each retry gives its place back when its request ends, so there are some more than eight
        # (a fifth of forty), but not the eighty that three tries for each would be.
        assert 40 < requests < 80
        (group,) = proxy.upstreams._hosts.values()
        assert (group.retries.active, group.retries._retrying) == (0, 0)


async def test_with_every_instance_refusing_the_answer_says_so_and_nothing_is_left_over() -> None:
    async with proxying() as proxy:
        await proxy.route("a.test", refusing(), refusing())
        page = await ask(proxy, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (502, "instance_unreachable")
        (group,) = proxy.upstreams._hosts.values()
        assert (group.retries.active, group.retries._retrying) == (0, 0)


@pytest.mark.parametrize("cut", [0, 1, 5])
async def test_a_tunnel_whose_instance_drains_ends_with_1001_between_two_frames(cut: int) -> None:
    """`cut`: how much of its last frame the instance has sent when its time is up."""
    finish, told = asyncio.Event(), asyncio.Event()
    frame = b"\x82\x05hello"

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(_SWITCH + frame + frame[:cut])
        await finish.wait()
        await wire.send(frame[cut:] + b"\x82\x01x" if cut else b"")
        close = await wire.exactly(8)
        assert close[:2] == b"\x88\x82"
        assert bytes(a ^ b for a, b in zip(close[6:], close[2:4], strict=True)) == b"\x03\xe9"
        told.set()
        await wire.gone()

    async with (
        proxying(instance_drain_seconds=0.2) as proxy,
        instance(script) as one,
        instance(saying(b"new")) as two,
        visitor(proxy) as wire,
    ):
        await proxy.route("a.test", one)
        await wire.send(_UPGRADE)
        await wire.head()
        assert await wire.exactly(len(frame) + cut) == frame + frame[:cut]
        await proxy.route("b.test", two)  # of another project: nothing happens
        await proxy.route("a.test", two)
        await _drained(proxy)
        finish.set()
        assert await wire.rest() == (frame[cut:] if cut else b"") + b"\x88\x02\x03\xe9"
        await asyncio.wait_for(told.wait(), SECONDS)
    assert isinstance(one, Instance)


async def _drained(proxy: Proxy) -> None:
    """Return once the tunnel was told to end."""

    async def leaving() -> bool:
        def look() -> bool:
            tunnels = [each._tunnel for each in proxy.server.connections]
            return not tunnels or any(one and one._timer is not None for one in tunnels)

        return await proxy.call(look)

    await eventually(leaving)
