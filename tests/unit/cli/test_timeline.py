"""The chain of causes as a tree."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.timeline import chain

_START = datetime(2026, 1, 1, tzinfo=UTC)


def event(id_: str, cause: str | None, seconds: float) -> dict[str, Any]:
    time = (_START + timedelta(seconds=seconds)).isoformat()
    return {"id": id_, "causation_id": cause, "time": time, "type": "x.y", "subject": "s"}


def drawn(events: list[dict[str, Any]]) -> list[str]:
    return [moment.branch + moment.event["id"] for moment in chain(events)]


def test_causes_come_before_effects_and_siblings_by_time() -> None:
    events = [
        event("push", None, 0),
        event("created", "push", 1),
        event("requested", "created", 1),
        event("started", "requested", 2),
        event("built", "requested", 9),
        event("building", "started", 3),
        event("late", "push", 20),
    ]
    assert drawn(events) == [
        "push",
        "├ created",
        "│ └ requested",
        "│   ├ started",
        "│   │ └ building",
        "│   └ built",
        "└ late",
    ]
    assert drawn(events[::-1]) == drawn(events)


def test_times_are_since_the_start_and_since_the_cause() -> None:
    moments = chain([event("a", None, 0), event("b", "a", 1.5), event("c", "b", 4)])
    assert [(each.offset, each.since_cause) for each in moments] == [
        (0, None),
        (1.5, 1.5),
        (4, 2.5),
    ]


def test_an_event_whose_cause_is_elsewhere_is_a_root_with_its_offset() -> None:
    moments = chain([event("a", None, 0), event("b", "not in the log", 5)])
    assert [(each.branch, each.offset, each.since_cause) for each in moments] == [
        ("", 0, None),
        ("", 5, None),
    ]


def test_a_circle_loses_no_event_and_ends() -> None:
    events = [event("a", "b", 0), event("b", "a", 1), event("self", "self", 2)]
    assert {each.event["id"] for each in chain(events)} == {"a", "b", "self"}


def test_a_long_chain_is_no_deep_recursion() -> None:
    events = [event("0", None, 0)] + [event(str(n), str(n - 1), n) for n in range(1, 3000)]
    assert [each.event["id"] for each in chain(events)] == [str(n) for n in range(3000)]


def test_nothing_is_nothing() -> None:
    assert chain([]) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=10))
def test_each_event_appears_once_and_after_its_cause(links: list[tuple[int, int]]) -> None:
    events = [event(str(n), str(cause), at) for n, (cause, at) in enumerate(links)]
    order = [moment.event["id"] for moment in chain(events)]
    assert sorted(order) == sorted(each["id"] for each in events)
    for moment in chain(events):
        if moment.branch:
            cause: Mapping[str, Any] = moment.event
            assert order.index(cause["causation_id"]) < order.index(cause["id"])
