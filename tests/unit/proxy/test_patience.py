"""How long a body is waited for."""

from __future__ import annotations

from proxy.limits import Limits
from proxy.patience import Patience

_LIMITS = Limits(body_idle_seconds=60.0, body_bytes_per_second=100.0)


def test_a_body_that_trickles_uses_up_its_grace_although_it_is_never_silent() -> None:
    patience, now = Patience(0.0, _LIMITS), 0.0
    while patience.arrived(1, now) > 0 and now < 1000:
        now += 1.0
    assert 60 <= now <= 62


def test_a_body_that_comes_fast_enough_is_waited_for_without_end() -> None:
    patience = Patience(0.0, _LIMITS)
    assert all(patience.arrived(100, float(now)) == 60.0 for now in range(1, 1000))


def test_a_flood_does_not_buy_a_long_silence() -> None:
    patience = Patience(0.0, _LIMITS)
    assert patience.arrived(10**9, 1.0) == 60.0
    assert patience.arrived(0, 61.0) == 0.0


def test_time_in_which_nothing_is_read_does_not_count() -> None:
    patience = Patience(0.0, _LIMITS)
    patience.pause(20.0)
    patience.pause(30.0)
    assert patience.resume(500.0) == 40.0
    assert patience.resume(510.0) == 30.0
