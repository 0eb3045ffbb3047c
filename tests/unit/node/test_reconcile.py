"""What a node starts and stops, and when it looks again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from node.reconcile import Plan, plan, restart_delay
from tests.contracts.runtime import instance_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Plan(start=(), stop=(), gone=(), look_again_seconds=None)


def test_what_is_wanted_and_runs_needs_nothing() -> None:
    assert plan([instance_spec()], {"ins_1": 1}, now=NOW) == NOTHING


def test_what_is_wanted_and_does_not_run_starts() -> None:
    spec = instance_spec()
    assert plan([spec], {}, now=NOW).start == (spec,)


def test_what_nobody_wants_stops() -> None:
    assert plan([], {"ins_2": 1, "ins_1": 1}, now=NOW).stop == ("ins_1", "ins_2")


@pytest.mark.parametrize("generation", [1, 3])
def test_another_generation_stops_and_the_wanted_one_starts_in_its_place(generation: int) -> None:
    spec = instance_spec(generation=2)
    made = plan([spec], {"ins_1": generation}, now=NOW)
    assert (made.stop, made.start) == (("ins_1",), (spec,))


def test_what_drains_runs_until_its_time_and_the_next_look_is_then() -> None:
    first = instance_spec(want="stopped", stop_after=NOW + timedelta(seconds=4))
    later = instance_spec(
        instance_id="ins_2", want="stopped", stop_after=NOW + timedelta(seconds=9)
    )
    made = plan([later, first], {"ins_1": 1, "ins_2": 1}, now=NOW)
    assert made == Plan(start=(), stop=(), gone=(), look_again_seconds=4.0)


@pytest.mark.parametrize("stop_after", [NOW, NOW - timedelta(seconds=1), None])
def test_what_has_drained_stops(stop_after: datetime | None) -> None:
    spec = instance_spec(want="stopped", stop_after=stop_after)
    made = plan([spec], {"ins_1": 1}, now=NOW)
    assert made == Plan(start=(), stop=("ins_1",), gone=(), look_again_seconds=None)


@pytest.mark.parametrize("stop_after", [NOW, NOW + timedelta(hours=1), None])
def test_what_is_to_stop_and_does_not_run_is_gone_and_never_started(
    stop_after: datetime | None,
) -> None:
    spec = instance_spec(want="stopped", stop_after=stop_after)
    assert plan([spec], {}, now=NOW) == Plan((), (), (spec,), None)


def test_restarts_come_ever_later_up_to_a_minute() -> None:
    assert [restart_delay(count) for count in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]
