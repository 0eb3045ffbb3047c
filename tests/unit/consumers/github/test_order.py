"""Pushes of a reference that come late, twice and out of order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.github.order import Move, is_late

AT = datetime(2026, 1, 1, tzinfo=UTC)


def move(before: str | None, after: str | None, seconds: int | None = 0) -> Move:
    return Move(before, after, None if seconds is None else AT + timedelta(seconds=seconds))


def test_the_first_is_never_late() -> None:
    assert not is_late(move("a", "b"), None)


@pytest.mark.parametrize(
    ("said", "known", "late"),
    [
        (move("a", "b", 1), move("b", "c", 2), True),
        (move("c", "d", 3), move("b", "c", 2), False),
        # The clock knows better than the chain: a branch forced back and forth.
        (move("b", "a", 3), move("a", "b", 2), False),
        (move("a", "b", 1), move("b", None, 2), True),
        (move(None, "b", 3), move("b", None, 2), False),
    ],
)
def test_the_senders_clock_decides(said: Move, known: Move, *, late: bool) -> None:
    assert is_late(said, known) == late


@pytest.mark.parametrize("at", [0, None])
@pytest.mark.parametrize(
    ("steps", "late"),
    [
        (("a", "b", "b", "c"), True),  # what the known one started from
        (("b", "c", "a", "b"), False),
        (("b", "a", "a", "b"), False),  # forced back
        (("a", "b", "b", None), True),  # deleted since
        ((None, "b", "b", None), False),  # made again from nothing
        (("x", "y", "a", "b"), False),  # nothing is known of the way between
        (("a", "b", "a", "b"), False),  # the same once more
    ],
)
def test_within_a_second_the_chain_decides(
    steps: tuple[str | None, str | None, str | None, str | None], at: int | None, *, late: bool
) -> None:
    before, after, known_before, known_after = steps
    assert is_late(move(before, after, at), move(known_before, known_after, at)) == late
