"""Where WebSocket frames end, however the bytes come."""

from __future__ import annotations

import random

import pytest

from proxy.frames import GOING_AWAY, GOING_AWAY_MASKED, FrameCursor


def frame(size: int, *, masked: bool = False) -> bytes:
    flag = 0x80 if masked else 0
    if size < 126:
        header = bytes([0x82, flag | size])
    elif size < 1 << 16:
        header = bytes([0x82, flag | 126]) + size.to_bytes(2, "big")
    else:
        header = bytes([0x82, flag | 127]) + size.to_bytes(8, "big")
    return header + (b"mask" if masked else b"") + bytes(size)


SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70_000)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_cursor_knows_the_ends_of_frames_wherever_they_are_cut(side: str) -> None:
    frames = [frame(size, masked=side == "client") for size in SIZES]
    stream = b"".join(frames)
    ends = {sum(map(len, frames[:count])) for count in range(len(frames) + 1)}
    chance = random.Random(1)
    for _ in range(20):
        cursor, at = FrameCursor(), 0
        while at < len(stream):
            step = chance.choice([1, 2, 13, 5_000, 40_000])
            cursor.advance(stream[at : at + step])
            at = min(len(stream), at + step)
            assert cursor.between == (at in ends)


def test_every_cut_through_short_frames_is_told_from_an_end() -> None:
    stream = frame(3, masked=True) + frame(126) + frame(0)
    ends = {9, 9 + 130, len(stream)}
    for first in range(1, len(stream)):
        cursor = FrameCursor()
        cursor.advance(stream[:first])
        assert cursor.between == (first in ends)
        cursor.advance(stream[first:])
        assert cursor.between


@pytest.mark.parametrize("size", [5, 200, 70_000])
def test_the_frame_in_hand_is_finished_and_nothing_behind_it(size: int) -> None:
    whole = frame(size)
    for cut in (1, 2, 3, len(whole) - 1):
        cursor = FrameCursor()
        cursor.advance(whole[:cut])
        rest = whole[cut:] + frame(9)
        assert cursor.finish(rest) == len(whole) - cut
        assert cursor.between


def test_the_goodbye_of_both_sides_is_a_whole_close_frame_with_1001() -> None:
    assert GOING_AWAY[2:] == (1001).to_bytes(2, "big")
    key, hidden = GOING_AWAY_MASKED[2:6], GOING_AWAY_MASKED[6:]
    assert bytes(a ^ b for a, b in zip(hidden, key, strict=False)) == GOING_AWAY[2:]
    for goodbye in (GOING_AWAY, GOING_AWAY_MASKED):
        cursor = FrameCursor()
        cursor.advance(goodbye)
        assert cursor.between
        assert goodbye[0] == 0x88
