"""When the outbox makes a process unready, and what it says then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from db.outbox import Backlog
from producers.outbox_gauge import overdue

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def waiting(depth: int, seconds: float) -> Backlog:
    return Backlog(depth, NOW - timedelta(seconds=seconds))


def test_nothing_waits_for_too_long() -> None:
    assert overdue({}, now=NOW, max_age_seconds=30) is None
    young = {"ZW_EVENTS": waiting(90_000, 29.9), "ZW_JOBS": waiting(1, -5)}
    assert overdue(young, now=NOW, max_age_seconds=30) is None


def test_the_streams_that_are_late_are_named() -> None:
    found = {"ZW_JOBS": waiting(7, 41.4), "ZW_EVENTS": waiting(90_000, 2)}
    assert overdue(found, now=NOW, max_age_seconds=30) == (
        "7 events wait for ZW_JOBS, the oldest for 41 s (limit 30 s)"
    )
    found["ZW_EVENTS"] = waiting(90_000, 3600)
    assert overdue(found, now=NOW, max_age_seconds=30) == (
        "90000 events wait for ZW_EVENTS, the oldest for 3600 s; "
        "7 events wait for ZW_JOBS, the oldest for 41 s (limit 30 s)"
    )
