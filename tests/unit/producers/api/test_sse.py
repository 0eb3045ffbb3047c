"""Server-sent events: what goes over the wire, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request
from typing_extensions import override

from producers.api.sse import Bell, EventStream
from zeitwork import clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Wire(EventStream):
    """A stream whose answer is kept instead of sent."""

    def __init__(self, last_id: str | None = None) -> None:
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        super().__init__(make_mocked_request("GET", "/", headers=headers))
        self.response = cast("Any", self)
        self.sent = ""

    @override
    async def open(self) -> None:
        await self.write(b": open\n\n")

    async def write(self, data: bytes) -> None:
        self.sent += data.decode()


@pytest.fixture
def time() -> Iterator[clock.FakeClock]:
    with clock.using(clock.FakeClock(NOON)) as fake:
        yield fake


async def test_an_event_has_an_id_a_name_and_its_data() -> None:
    wire = Wire()
    await wire.send('{"a": 1}', event="line", id_=7)
    await wire.send("the end", event="end")
    assert wire.sent == 'id: 7\nevent: line\ndata: {"a": 1}\n\nevent: end\ndata: the end\n\n'


async def test_no_line_end_in_the_data_can_forge_a_field() -> None:
    wire = Wire()
    await wire.send("one\ntwo\r\nthree\rid: 99\n\nevent: forged", event="line")
    assert wire.sent == (
        "event: line\n"
        "data: one\ndata: two\ndata: three\ndata: id: 99\ndata: \ndata: event: forged\n\n"
    )


@pytest.mark.parametrize(
    ("given", "last_id"),
    [
        (None, None),
        ("0", 0),
        ("41", 41),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("\u0661", None),
    ],
)
def test_the_place_to_resume_is_a_sequence_or_nothing(
    given: str | None, last_id: int | None
) -> None:
    assert Wire(given).last_id == last_id


async def test_a_quiet_stream_is_kept_open(time: clock.FakeClock) -> None:
    wire = Wire()
    await wire.send("x", event="line")
    before = wire.sent
    time.advance(14)
    await wire.keep_open()
    assert wire.sent == before
    time.advance(1)
    await wire.keep_open()
    await wire.keep_open()
    assert wire.sent == f"{before}: 2026-01-01T12:00:15+00:00\n\n"


async def test_items_come_through_to_their_end() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    assert [item async for item in Wire().alive(items())] == [1, 2]


async def test_a_fault_of_the_source_comes_through() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        raise LookupError("lost")

    alive = Wire().alive(items())
    assert await anext(alive) == 1
    with pytest.raises(LookupError, match="lost"):
        await anext(alive)


async def test_rings_during_a_look_are_one(time: clock.FakeClock) -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait(60)
    waiting = asyncio.ensure_future(bell.wait(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_a_bell_rings_at_each_item_and_its_source_is_let_go() -> None:
    closed = asyncio.Event()

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    wire = Wire()
    async with wire.listening(items()) as bell:
        await bell.wait(60)
        assert wire.sent == ": open\n\n"
    assert closed.is_set()
