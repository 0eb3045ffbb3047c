"""Which webhooks are missed, and how long they are asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.github.missed import MOST_REQUESTS, Attempt, missed, next_request

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def attempt(id_: int, guid: str, status: int, *, minutes: float = 1) -> Attempt:
    return Attempt(id_, guid, "push", NOW - timedelta(minutes=minutes), status)


@pytest.mark.parametrize("status", [0, 301, 401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_what_another_attempt_may_bring_is_missed(status: int) -> None:
    failed = attempt(1, "a", status)
    assert missed([failed], since=NOW - timedelta(hours=1)) == {"a": failed}


@pytest.mark.parametrize("status", [200, 202, 204, 400, 413, 422])
def test_what_arrived_or_would_be_refused_again_is_not(status: int) -> None:
    assert missed([attempt(1, "a", status)], since=NOW - timedelta(hours=1)) == {}


@pytest.mark.parametrize("order", [1, -1])
def test_one_attempt_that_arrived_is_enough_in_any_order(order: int) -> None:
    attempts = [attempt(3, "a", 503), attempt(2, "a", 202), attempt(1, "a", 503)][::order]
    assert missed(attempts, since=NOW - timedelta(hours=1)) == {}


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_attempt_stands_for_its_delivery(order: int) -> None:
    attempts = [attempt(1, "a", 503), attempt(2, "a", 500), attempt(3, "b", 0)][::order]
    found = missed(attempts, since=NOW - timedelta(hours=1))
    assert {guid: each.id for guid, each in found.items()} == {"a": 2, "b": 3}


def test_what_is_older_than_the_window_is_left_alone() -> None:
    assert missed([attempt(1, "a", 503, minutes=61)], since=NOW - timedelta(hours=1)) == {}


def test_requests_come_ever_later_and_end() -> None:
    times = [next_request(asked, now=NOW) for asked in range(1, MOST_REQUESTS)]
    assert all(time is not None for time in times)
    assert times == sorted(times)  # type: ignore[type-var]
    assert times[-1] is not None
    assert times[-1] - NOW <= timedelta(hours=2)
    assert next_request(MOST_REQUESTS, now=NOW) is None
