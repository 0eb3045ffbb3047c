from __future__ import annotations

import asyncio
import os

import pytest

from cli.lines import MAX_LINE_BYTES, Lines


async def read(*writes: bytes) -> list[str]:
    """What a reader sees of these writes, the last one followed by the end."""
    seen: list[str] = []
    lines = Lines(seen.append)
    write_end = await lines.open()
    for data in writes:
        await asyncio.to_thread(os.write, write_end, data)
    os.close(write_end)
    async with asyncio.timeout(10):
        await lines.ended.wait()
    return seen


@pytest.mark.parametrize(
    ("writes", "expected"),
    [
        ((b"one\ntwo\n",), ["one", "two"]),
        ((b"on", b"e\nt", b"wo\n"), ["one", "two"]),
        ((b"no end",), ["no end"]),
        ((b"\n\n",), ["", ""]),
        ((b"dos\r\n",), ["dos"]),
        ((b"bad \xff byte\n",), ["bad \N{REPLACEMENT CHARACTER} byte"]),
        ((), []),
    ],
)
async def test_lines_are_told_as_they_were_written(
    writes: tuple[bytes, ...], expected: list[str]
) -> None:
    assert await read(*writes) == expected


async def test_a_line_without_end_comes_in_bounded_pieces() -> None:
    seen = await read(b"x" * (5 * MAX_LINE_BYTES), b"\nlast\n")
    assert max(map(len, seen)) <= MAX_LINE_BYTES
    assert "".join(seen) == "x" * (5 * MAX_LINE_BYTES) + "last"


async def test_closing_does_not_wait_for_those_who_keep_the_pipe() -> None:
    seen: list[str] = []
    lines = Lines(seen.append)
    write_end = await lines.open()
    try:
        os.write(write_end, b"said\n")
        async with asyncio.timeout(10):
            await lines.close(within_seconds=0.05)
    finally:
        os.close(write_end)
    assert seen == ["said"]
