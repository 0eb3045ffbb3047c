from __future__ import annotations

import pytest

from cli.backoff import FIRST_SECONDS, LONGEST_SECONDS, STEADY_SECONDS, Backoff


def near(seconds: float) -> object:
    return pytest.approx(seconds, rel=0.101)


def test_the_delay_doubles_up_to_its_limit() -> None:
    backoff = Backoff()
    delays = [backoff.after(0.1) for _ in range(8)]
    assert delays == [near(min(FIRST_SECONDS * 2**n, LONGEST_SECONDS)) for n in range(8)]
    assert delays[-1] == near(LONGEST_SECONDS)


def test_the_delay_stays_finite_however_often_it_fails() -> None:
    backoff = Backoff()
    assert [backoff.after(0) for _ in range(5_000)][-1] == near(LONGEST_SECONDS)


def test_a_steady_run_starts_afresh_a_short_one_does_not() -> None:
    backoff = Backoff()
    for _ in range(4):
        backoff.after(0)
    assert backoff.after(STEADY_SECONDS - 0.1) == near(8.0)
    assert backoff.after(STEADY_SECONDS) == near(FIRST_SECONDS)
    assert backoff.after(0) == near(2 * FIRST_SECONDS)


def test_programs_that_fail_together_do_not_come_back_together() -> None:
    assert len({Backoff().after(0) for _ in range(20)}) > 1
