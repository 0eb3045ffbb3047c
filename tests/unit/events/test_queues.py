"""The pace of a durable, from what several looks find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from events.queues import DurableReading, Pace, Reading, Trend

START = datetime(2026, 1, 1, tzinfo=UTC)


def durable(
    *, delivered: int = 0, position: int = 0, pending: int = 0, ack_pending: int = 0
) -> DurableReading:
    return DurableReading(
        name="d",
        description="",
        stream="ZW_EVENTS",
        pending=pending,
        ack_pending=ack_pending,
        redelivered=0,
        idle_pulls=0,
        paused=False,
        delivered=delivered,
        position=position,
        oldest_at=None,
    )


def reading(seconds: float, *durables: DurableReading) -> Reading:
    at = START + timedelta(seconds=seconds)
    return Reading(at=at, streams=(), durables=durables, missing=())


def trend(*readings: Reading) -> Trend:
    found = Trend()
    for each in readings:
        found.add(each)
    return found


def test_one_look_tells_no_pace() -> None:
    assert trend().pace("d") == Pace()
    assert trend(reading(0, durable(pending=5))).pace("d") == Pace()


def test_what_was_handed_out_and_answered_was_done() -> None:
    found = trend(
        reading(0, durable(pending=100)),
        reading(10, durable(delivered=52, position=104, pending=48, ack_pending=2)),
    ).pace("d")
    assert found == Pace(rate=5.0, drain_seconds=10.0)


def test_an_answer_between_two_looks_was_done_even_without_a_new_message() -> None:
    found = trend(
        reading(0, durable(delivered=4, position=4, ack_pending=4)),
        reading(4, durable(delivered=4, position=4)),
    ).pace("d")
    assert found == Pace(rate=1.0, drain_seconds=0.0)


def test_a_message_that_fails_again_and_again_is_no_progress() -> None:
    found = trend(
        reading(0, durable(delivered=1, position=7, ack_pending=1)),
        reading(10, durable(delivered=40, position=7, ack_pending=1)),
    ).pace("d")
    assert found == Pace(rate=0.0, drain_seconds=None)


def test_a_queue_that_grows_is_not_drained() -> None:
    found = trend(
        reading(0, durable(pending=10)),
        reading(10, durable(delivered=10, position=10, pending=30)),
    ).pace("d")
    assert found == Pace(rate=1.0, drain_seconds=None)


@pytest.mark.parametrize("anew", [durable(delivered=2, position=500), durable(position=90)])
def test_a_durable_that_was_made_anew_begins_anew(anew: DurableReading) -> None:
    known = trend(
        reading(0, durable(delivered=100, position=100)),
        reading(10, durable(delivered=200, position=200)),
        reading(20, anew),
    )
    assert known.pace("d") == Pace()
    later = anew.model_copy(
        update={"delivered": anew.delivered + 20, "position": anew.position + 20}
    )
    known.add(reading(30, later))
    assert known.pace("d").rate == 2.0


def test_only_the_last_minute_counts() -> None:
    found = trend(
        reading(0, durable()),
        reading(5, durable(delivered=1000, position=1000)),
        reading(66, durable(delivered=1061, position=1061)),
    )
    assert found.pace("d") == Pace()
    found.add(reading(76, durable(delivered=1071, position=1071)))
    assert found.pace("d").rate == 1.0


def test_what_is_older_than_the_newest_is_left_out() -> None:
    newest = reading(10, durable(delivered=10, position=10))
    known = trend(reading(0, durable()), newest, newest, reading(5, durable(delivered=99)))
    assert known.newest is newest
    assert known.pace("d").rate == 1.0


def test_a_durable_that_is_not_there_has_no_pace() -> None:
    known = trend(reading(0, durable()), reading(10, durable(delivered=10, position=10)))
    assert known.pace("other") == Pace()
