"""Requests through the real proxy: which instance gets them, and what each side sees."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.support.edge import Proxy, ask, get, proxying, visitor
from tests.support.eventually import eventually
from tests.support.upstreams import (
    Message,
    Wire,
    answering,
    instance,
    refusing,
    respond,
    saying,
)


async def test_a_host_leads_to_its_own_instance() -> None:
    async with proxying() as proxy, instance(saying(b"a")) as one, instance(saying(b"b")) as two:
        await proxy.route("a.test", one)
        await proxy.route("b.test", two)
        assert (await ask(proxy, get(host="a.test"))).body == b"a"
        assert (await ask(proxy, get(host="b.test"))).body == b"b"


@pytest.mark.parametrize("host", ["A.TEST", "a.test.", "a.test:8080", "A.Test.:80"])
async def test_a_host_is_found_however_it_is_written(host: str) -> None:
    async with proxying() as proxy, instance(saying(b"a")) as one:
        await proxy.route("a.test", one)
        assert (await ask(proxy, get(host=host))).body == b"a"


async def test_requests_spread_over_ready_instances() -> None:
    """Three slow requests at once cannot all be with one instance."""
    release = asyncio.Event()

    async def slow(wire: Wire) -> None:
        await wire.message()
        await release.wait()
        await wire.send(respond())

    async with proxying() as proxy, instance(slow) as one, instance(slow) as two:
        await proxy.route("a.test", one, two)
        asking = [asyncio.ensure_future(ask(proxy, get())) for _ in range(4)]
        await eventually(lambda: len(one.visits) == len(two.visits) == 2)
        release.set()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 4


async def test_an_unknown_host_gets_a_clean_page_and_the_connection_stays() -> None:
    async with proxying() as proxy, visitor(proxy) as wire:
        for _ in range(2):
            await wire.send(get(host="nobody.test"))
            page = await wire.message()
            assert page.status == 404
            assert page.head.one("content-type") == "text/html; charset=utf-8"
            assert page.head.one("x-zeitwork-error") == "unknown_host"
            assert page.head.one("cache-control") == "no-store"
            assert str(page.head.one("x-request-id")) in page.body.decode()
            assert b"nobody" not in page.body


async def test_a_page_is_a_problem_document_for_who_asks_for_json() -> None:
    async with proxying() as proxy:
        page = await ask(proxy, get(fields="accept: application/json\r\n"))
        assert page.head.one("content-type") == "application/problem+json"
        problem = json.loads(page.body)
        assert (problem["status"], problem["code"]) == (404, "unknown_host")
        assert problem["request_id"] == page.head.one("x-request-id")


async def test_a_known_host_without_instances_asks_to_come_again() -> None:
    async with proxying() as proxy:
        await proxy.route("a.test")
        page = await ask(proxy, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (503, "no_instance")
        assert int(page.head.one("retry-after") or 0) > 0


async def test_before_any_table_an_unknown_host_is_not_said_to_be_unknown() -> None:
    async with proxying() as proxy:
        proxy.board.loaded = False
        page = await ask(proxy, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (503, "edge_starting")
        assert page.head.one("retry-after")


async def test_an_instance_learns_who_asked_and_cannot_be_lied_to() -> None:
    async with proxying() as proxy, instance(answering(_echo_head)) as one:
        await proxy.route("a.test", one)
        spoofed = (
            "x-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\n"
            "x-forwarded-port: 443\r\nx-forwarded-prefix: /admin\r\nx_forwarded_for: 6.6.6.6\r\n"
            "forwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nx-request-id: chosen\r\n"
            "x-zeitwork-node: 1\r\nproxy: http://evil\r\n"
        )
        seen = json.loads((await ask(proxy, get("/p?q=1", fields=spoofed))).body)
        assert seen["start"] == "GET /p?q=1 HTTP/1.1"
        fields = [tuple(pair) for pair in seen["fields"]]
        assert dict(fields).keys() >= {"traceparent", "via"}
        assert ("x-forwarded-for", "127.0.0.1") in fields
        assert ("x-forwarded-proto", "http") in fields
        assert ("x-forwarded-host", "a.test") in fields
        assert ("forwarded", 'for=127.0.0.1;host="a.test";proto=http') in fields
        assert len(dict(fields)) == len(fields)
        assert re.fullmatch("[0-9a-f]{32}", dict(fields)["x-request-id"])
        text = json.dumps(seen)
        for lie in ("6.6.6.6", "evil", "443", "/admin", "chosen", "x-zeitwork-node", "x_forw"):
            assert lie not in text


async def test_what_is_for_one_connection_only_is_not_passed_on() -> None:
    async with proxying() as proxy, instance(answering(_echo_head)) as one:
        await proxy.route("a.test", one)
        fields = (
            "connection: x-mine, Keep-Alive, X-Forwarded-For, cookie\r\nx-mine: 1\r\n"
            "keep-alive: timeout=5\r\nte: trailers\r\ntrailer: x\r\nupgrade: h2c\r\n"
            "proxy-authorization: Basic eA==\r\nproxy-connection: keep-alive\r\n"
            "cookie: kept\r\nx-kept: yes\r\n"
        )
        seen = dict(json.loads((await ask(proxy, get(fields=fields))).body)["fields"])
        assert (seen["cookie"], seen["x-kept"]) == ("kept", "yes")
        assert seen["x-forwarded-for"] == "127.0.0.1"
        assert not seen.keys() & {
            "connection", "x-mine", "keep-alive", "te", "trailer", "upgrade",
            "proxy-authorization", "proxy-connection",
        }  # fmt: skip


async def test_a_response_loses_what_is_for_one_connection_only() -> None:
    fields = (
        "connection: x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nset-cookie: a=1\r\n"
        "set-cookie: b=2\r\nx-zeitwork-error: forged\r\nx-request-id: forged\r\n"
    )
    async with (
        proxying() as proxy,
        instance(answering(lambda _: respond(b"x", fields=fields))) as one,
    ):
        await proxy.route("a.test", one)
        head = (await ask(proxy, get())).head
        assert head.all("set-cookie") == ["a=1", "b=2"]
        assert head.one("x-request-id") != "forged"
        for dropped in ("connection", "x-mine", "keep-alive", "x-zeitwork-error"):
            assert head.all(dropped) == []


async def test_a_connection_carries_many_requests_and_so_does_the_one_behind() -> None:
    async with proxying() as proxy, instance(answering(lambda got: respond(got.body))) as one:
        await proxy.route("a.test", one)
        async with visitor(proxy) as wire:
            for number in (b"1", b"22", b"333"):
                length = f"content-length: {len(number)}\r\n"
                await wire.send(get(fields=length).replace(b"GET", b"POST") + number)
                assert (await wire.message()).body == number
        assert len(one.visits) == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def echo(wire: Wire) -> None:
        while True:
            path = (await wire.message()).head.start.split()[1]
            await wire.send(respond(path.encode()))

    async with proxying() as proxy, instance(echo) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        mixed = [get("/1"), get("/2", host="unknown.test"), get("/3")]
        await wire.send(b"".join(mixed))
        answers = [await wire.message() for _ in mixed]
        assert [answer.status for answer in answers] == [200, 404, 200]
        assert (answers[0].body, answers[2].body) == (b"/1", b"/3")


async def test_pipelined_requests_before_a_close_of_the_sending_half_are_answered() -> None:
    async with proxying() as proxy, instance(saying(b"x")) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get() + get())
        wire.finish()
        assert (await wire.rest()).count(b"HTTP/1.1 200") == 2


async def test_connection_close_is_honoured_and_said() -> None:
    async with proxying() as proxy, instance(saying(b"x")) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get(fields="connection: close\r\n"))
        answer = await wire.message()
        assert answer.head.one("connection") == "close"
        assert await wire.rest() == b""


async def test_http_1_0_gets_an_answer_that_ends_with_the_connection() -> None:
    async def chunked(wire: Wire) -> None:
        await wire.message()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await wire.send(b"3\r\nabc\r\n0\r\n\r\n")

    async with proxying() as proxy, instance(chunked) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(b"GET / HTTP/1.0\r\nhost: a.test\r\n\r\n")
        head = await wire.head()
        assert head.all("transfer-encoding") == []
        assert await wire.rest() == b"abc"


async def test_head_brings_the_length_and_no_body() -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.message()
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")

    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        for host in ("a.test", "unknown.test", "a.test"):
            await wire.send(get(host=host).replace(b"GET", b"HEAD"))
            head = await wire.head()
            assert int(head.one("content-length") or 0) > 0
        assert len(one.visits) == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_response_without_a_body_leaves_the_connection_in_step(status: str) -> None:
    def answer(got: Message) -> bytes:
        if got.head.start.startswith("GET /second"):
            return respond(b"second")
        return f"HTTP/1.1 {status}\r\netag: x\r\n\r\n".encode()

    async with proxying() as proxy, instance(answering(answer)) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get() + get("/second"))
        head = await wire.head()
        assert (head.status, head.all("transfer-encoding")) == (int(status[:3]), [])
        assert (await wire.message()).body == b"second"
        assert len(one.visits) == 1


async def test_early_hints_are_passed_on_but_not_to_http_1_0() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nconnection: x-a\r\nx-a: 1\r\nlink: </a.css>\r\n\r\n"
    script = answering(lambda _: hints + respond(b"x"))
    async with proxying() as proxy, instance(script) as one, visitor(proxy) as wire:
        await proxy.route("a.test", one)
        await wire.send(get())
        early = await wire.head()
        assert (early.status, early.one("link"), early.one("x-a")) == (103, "</a.css>", None)
        assert (await wire.message()).body == b"x"
        old = await ask(proxy, b"GET / HTTP/1.0\r\nhost: a.test\r\n\r\n")
        assert old.status == 200


async def test_expect_100_continue_is_answered_before_the_body_is_sent() -> None:
    async with proxying() as proxy, instance(answering(lambda got: respond(got.body))) as one:
        await proxy.route("a.test", one)
        async with visitor(proxy) as wire:
            fields = "expect: 100-continue\r\ncontent-length: 4\r\n"
            await wire.send(get(fields=fields).replace(b"GET", b"PUT"))
            assert (await wire.head()).status == 100
            await wire.send(b"body")
            assert (await wire.message()).body == b"body"


async def test_expect_100_continue_for_an_unknown_host_gets_the_answer_instead() -> None:
    async with proxying() as proxy, visitor(proxy) as wire:
        fields = "expect: 100-continue\r\ncontent-length: 4\r\n"
        await wire.send(get(fields=fields).replace(b"GET", b"PUT"))
        page = await wire.message()
        assert (page.status, page.head.one("connection")) == (404, "close")
        assert await wire.rest() == b""


async def test_a_refused_connection_is_tried_elsewhere_whatever_the_method() -> None:
    async with proxying() as proxy, instance(answering(lambda got: respond(got.body))) as one:
        await proxy.route("a.test", refusing(), one, refusing())
        for _ in range(4):
            post = get(fields="content-length: 2\r\n").replace(b"GET", b"POST") + b"ab"
            assert (await ask(proxy, post)).body == b"ab"


async def test_if_no_instance_takes_the_connection_that_is_said() -> None:
    async with proxying() as proxy:
        await proxy.route("a.test", refusing())
        page = await ask(proxy, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (502, "instance_unreachable")
        assert await proxy.in_flight() == 0


async def test_a_kept_connection_that_dies_is_replaced_for_a_safe_request_only() -> None:
    """The instance closes a kept connection at its second request, as if it had been idle."""

    async def once(wire: Wire) -> None:
        await wire.message()
        await wire.send(respond(b"first"))
        await wire.message()

    async with proxying() as proxy, instance(once) as one:
        await proxy.route("a.test", one)
        assert await _answered(proxy, get()) == 200
        assert await _answered(proxy, get()) == 200
        assert len(one.visits) == 2
        post = get(fields="content-length: 0\r\n").replace(b"GET", b"POST")
        assert await _answered(proxy, post) == 502
        assert len(one.visits) == 2


async def test_a_fresh_connection_that_dies_unanswered_is_not_tried_again() -> None:
    async def never(wire: Wire) -> None:
        await wire.message()

    async with proxying() as proxy, instance(never) as one:
        await proxy.route("a.test", one)
        page = await ask(proxy, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (502, "instance_closed")
        assert len(one.visits) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\nx: a\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : a\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_not_passed_on(answer: bytes) -> None:
    async with proxying() as proxy, instance(answering(lambda _: answer)) as one:
        await proxy.route("a.test", one)
        async with visitor(proxy) as wire:
            await wire.send(get())
            head = await wire.head()
            while head.status == 103:
                head = await wire.head()
            assert (head.status, head.one("x-zeitwork-error")) == (502, "instance_malformed")


async def test_bytes_behind_a_response_do_not_answer_the_next_request() -> None:
    """Response splitting by an instance: what it sends unasked must not reach the next visitor."""
    poisoned = respond(b"mine") + respond(b"poison")
    async with proxying() as proxy, instance(answering(lambda _: poisoned)) as one:
        await proxy.route("a.test", one)
        for number in (1, 2, 3):
            assert (await ask(proxy, get())).body == b"mine"
            assert len(one.visits) == number


async def test_an_instance_that_is_silent_is_given_up() -> None:
    async def silent(wire: Wire) -> None:
        await wire.message()
        await wire.gone()

    async with proxying(response_head_seconds=0.2) as proxy, instance(silent) as one:
        await proxy.route("a.test", one)
        page = await ask(proxy, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (504, "instance_timeout")
        assert await proxy.in_flight() == 0


def _echo_head(got: Message) -> bytes:
    return respond(json.dumps({"start": got.head.start, "fields": got.head.fields}).encode())


async def _answered(proxy: Proxy, request: bytes) -> int:
    return (await ask(proxy, request)).status
