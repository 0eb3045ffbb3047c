"""How much the relay takes at once."""

from __future__ import annotations

from producers.pace import MOST, Pace


def test_a_stream_that_takes_little_is_offered_half_each_time_down_to_one() -> None:
    pace, sizes = Pace(), [MOST]
    while pace.refused():
        sizes.append(pace.size)
    assert sizes == [1000, 500, 250, 125, 62, 31, 15, 7, 3, 1]
    assert not pace.refused()
    assert pace.size == 1


def test_a_stream_that_takes_again_is_soon_offered_whole_batches() -> None:
    pace = Pace()
    while pace.refused():
        pass
    for _ in range(10):
        pace.accepted()
    assert pace.size == MOST
    pace.accepted()
    assert pace.size == MOST
