"""Which build comes next: priority, fairness, limits; and what the others may expect."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.build_order import (
    Limits,
    Obstacle,
    Queue,
    Running,
    Waiting,
    choose,
    forecast,
    obstacle,
    ordered,
)
from events.builds import Priority

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(per_organisation=10, builder="one", slots=2)


def waiting(build_id: str, project: str = "p", **facts: Any) -> Waiting:
    return Waiting(build_id, facts.pop("organisation", "o"), project, f"env-{project}", **facts)


def running(build_id: str, project: str = "p", **facts: Any) -> Running:
    told: dict[str, Any] = {"organisation": "o", "builder": "two", "started_at": NOW, **facts}
    return Running(
        build_id,
        told["organisation"],
        project,
        f"env-{project}",
        told["builder"],
        told["started_at"],
    )


def order(*builds: Waiting, under_way: tuple[Running, ...] = ()) -> list[str]:
    return [build.build_id for build in ordered(Queue(builds, under_way))]


def test_whoever_waits_longest_comes_first() -> None:
    assert order(waiting("2"), waiting("3"), waiting("1")) == ["1", "2", "3"]


def test_production_comes_before_an_older_preview() -> None:
    preview = waiting("1", priority=Priority.PREVIEW)
    assert order(preview, waiting("2", priority=Priority.PRODUCTION)) == ["2", "1"]


def test_the_project_with_the_fewest_builds_under_way_comes_first() -> None:
    found = order(waiting("1", "busy"), waiting("2", "idle"), under_way=(running("0", "busy"),))
    assert found == ["2", "1"]


def test_what_a_dead_builder_left_comes_before_production() -> None:
    left = waiting("9", priority=Priority.PREVIEW, interrupted=True)
    assert order(waiting("1"), left) == ["9", "1"]


@pytest.mark.parametrize(
    ("build", "under_way", "limits", "expected"),
    [
        (waiting("1"), (), LIMITS, None),
        (waiting("1"), (running("0"),) * 9, LIMITS, None),
        (waiting("1"), (running("0", builder="one"),) * 2, LIMITS, Obstacle.BUILDER),
        (waiting("1"), (running("0", builder="one"),) * 2, Limits(10), None),
        (waiting("1"), (running("0"),) * 10, LIMITS, Obstacle.ORGANISATION),
        (waiting("1"), (running("0", organisation="other"),) * 10, LIMITS, None),
        (waiting("1", serial=True), (running("0"),), LIMITS, Obstacle.ENVIRONMENT),
        (waiting("1", serial=True), (running("0", "other"),), LIMITS, None),
    ],
)
def test_limits_hold_builds_back(
    build: Waiting, under_way: tuple[Running, ...], limits: Limits, expected: Obstacle | None
) -> None:
    queue = Queue([build], under_way)
    assert obstacle(build, queue, limits) is expected
    assert choose(queue, limits) is (build if expected is None else None)


def test_a_build_behind_a_limit_does_not_hold_up_the_others() -> None:
    under_way = (running("0", "a", organisation="full"),)
    queue = Queue([waiting("1", "b", organisation="full"), waiting("2", "c")], under_way)
    chosen = choose(queue, replace(LIMITS, per_organisation=1))
    assert chosen is not None
    assert chosen.build_id == "2"


def test_a_serial_build_waits_for_an_older_one_of_its_environment_in_the_queue() -> None:
    older, newer = waiting("1", serial=True), waiting("2", serial=True)
    assert obstacle(newer, Queue([newer, older], ()), LIMITS) is Obstacle.ENVIRONMENT
    assert obstacle(older, Queue([newer, older], ()), LIMITS) is None


def expected(queue: Queue, **changes: Any) -> list[tuple[str, int, float | None]]:
    """Build, position, seconds until it begins."""
    told: dict[str, Any] = {"slots": 2, "seconds": {"p": 60.0, "q": 10.0}, "now": NOW, **changes}
    places = forecast(queue, told.pop("limits", LIMITS), **told)
    return [
        (
            build_id,
            place.position,
            None if place.begins_in is None else place.begins_in.total_seconds(),
        )
        for build_id, place in places.items()
    ]


def test_the_forecast_fills_the_slots_as_they_become_free() -> None:
    begun = NOW - timedelta(seconds=20)
    under_way = (running("0", started_at=begun), running("9", "q", started_at=begun))
    queue = Queue([waiting("1"), waiting("2"), waiting("3", "q")], under_way)
    # A build of q is overdue and about to end; the other one of p has 40 s to go.
    assert expected(queue) == [("3", 1, 0.0), ("1", 2, 10.0), ("2", 3, 40.0)]


def test_the_forecast_keeps_to_the_limits() -> None:
    queue = Queue([waiting("1"), waiting("2")], ())
    one_at_a_time = expected(queue, limits=Limits(per_organisation=1))
    assert one_at_a_time == [("1", 1, 0.0), ("2", 2, 60.0)]


def test_without_a_builder_nobody_can_tell_when() -> None:
    queue = Queue([waiting("1"), waiting("2")], ())
    assert expected(queue, slots=0) == [("1", 1, None), ("2", 2, None)]


def test_a_limit_of_nothing_does_not_keep_the_forecast_from_ending() -> None:
    queue = Queue([waiting("1")], (running("0"),))
    assert expected(queue, limits=Limits(per_organisation=0)) == [("1", 1, None)]
