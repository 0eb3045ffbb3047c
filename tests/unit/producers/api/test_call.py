"""Reading what a caller sent."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest import mock

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from producers.api.call import BodyTooSlow, Call, Endpoint
from producers.api.problems import InvalidFields
from zeitwork.errors import BodyTooLarge, MalformedBody
from zeitwork.fields import Body, PageSize


class Wanted(Body):
    count: PageSize


def call(*parts: bytes, end: bool = True, length: int | None = None, query: str = "") -> Call:
    content = StreamReader(mock.Mock(spec=BaseProtocol), 2**16, loop=asyncio.get_running_loop())
    for part in parts:
        content.feed_data(part)
    if end:
        content.feed_eof()
    headers = {} if length is None else {"Content-Length": str(length)}
    request = make_mocked_request("POST", f"/{query}", headers=headers, payload=content)
    endpoint = Endpoint("POST", "/", cast("Any", None), max_body=20, body_seconds=0.01)
    return Call(request, endpoint, cast("Any", None))


async def test_a_body_in_parts_is_whole() -> None:
    assert await call(b'{"count"', b": 5}").body(Wanted) == Wanted(count=5)


async def test_a_body_may_be_as_large_as_the_limit() -> None:
    assert await call(b"x" * 15, b"x" * 5, length=20).read_body() == b"x" * 20


async def test_a_length_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(BodyTooLarge):
        await call(end=False, length=21).read_body()


async def test_a_body_over_the_limit_is_refused_before_its_end() -> None:
    with pytest.raises(BodyTooLarge):
        await call(b"x" * 21, end=False).read_body()


async def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(BodyTooSlow):
        await call(b'{"count"', end=False).read_body()


async def test_no_body_is_an_empty_object() -> None:
    with pytest.raises(InvalidFields) as caught:
        await call().body(Wanted)
    assert caught.value.errors[0]["pointer"] == "/count"


async def test_a_body_s_types_are_not_guessed_a_query_s_are() -> None:
    with pytest.raises(InvalidFields):
        await call(b'{"count": "5"}').body(Wanted)
    assert call(query="?count=5").query(Wanted) == Wanted(count=5)


@pytest.mark.parametrize("body", [b"[]", b"5", b"{", b'{"count": 1e9999}x', b"\x80"])
async def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        await call(body).body(Wanted)


async def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(InvalidFields):
        call(query="?count=5&page=2").query(Wanted)
