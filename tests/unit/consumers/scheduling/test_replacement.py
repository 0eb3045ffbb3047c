"""When a slot whose instance has ended gets the next one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.scheduling.replacement import Occupant, vacant

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OCCUPANTS = st.lists(
    st.builds(
        Occupant,
        slot=st.integers(0, 3),
        ended_at=st.none() | st.integers(0, 7200).map(lambda ago: NOW - timedelta(seconds=ago)),
    ),
    max_size=12,
)


def ended(*seconds_ago: float) -> list[Occupant]:
    """The occupants of slot 0, by when they ended."""
    return [Occupant(0, NOW - timedelta(seconds=ago)) for ago in seconds_ago]


@pytest.mark.parametrize(
    ("occupants", "is_vacant"),
    [
        ([], True),
        (ended(9), False),
        (ended(10), True),
        (ended(30, 19), False),
        (ended(30, 20), True),
        (ended(20, 30), True),
        (ended(*range(700, 1500, 100), 599), False),
        (ended(*range(700, 1500, 100), 600), True),
        (ended(*range(3600, 9000, 100), 9), False),
        (ended(*range(3600, 9000, 100), 10), True),
        ([*ended(3000), Occupant(0, None)], False),
    ],
)
def test_each_end_within_the_hour_doubles_the_wait(
    occupants: list[Occupant], *, is_vacant: bool
) -> None:
    assert vacant(1, occupants, now=NOW) == ([0] if is_vacant else [])


@given(st.integers(0, 4), OCCUPANTS)
def test_only_empty_slots_within_the_replicas_and_each_once(
    replicas: int, occupants: list[Occupant]
) -> None:
    found = vacant(replicas, occupants, now=NOW)
    assert found == sorted(set(found))
    assert set(found) <= set(range(replicas))
    assert not set(found) & {one.slot for one in occupants if one.ended_at is None}


@given(st.integers(1, 4), OCCUPANTS)
def test_every_empty_slot_is_filled_in_time(replicas: int, occupants: list[Occupant]) -> None:
    living = {one.slot for one in occupants if one.ended_at is None}
    later = NOW + timedelta(minutes=10)
    assert set(vacant(replicas, occupants, now=later)) == set(range(replicas)) - living
