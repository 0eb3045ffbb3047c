"""What the server says when it gives a message up, and which of it concerns us."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumers.dead_letters.advisory import Advisory, read
from events import streams

SUBJECT = streams.max_deliveries_advisory("ZW_JOBS", "build-production-v1")
# As nats-server 2.15 writes it.
SAID: dict[str, Any] = {
    "type": "io.nats.jetstream.advisory.v1.max_deliver",
    "id": "b0mHh0m6WGdsf1J6oDWkRD",
    "timestamp": "2026-11-24T14:45:08.084780354Z",
    "stream": "ZW_JOBS",
    "consumer": "build-production-v1",
    "stream_seq": 7,
    "deliveries": 3,
}


def test_an_advisory_names_the_message() -> None:
    found = read(SUBJECT, json.dumps(SAID).encode())
    assert found == Advisory("max_deliveries", "ZW_JOBS", "build-production-v1", 7, 3)
    assert found.concerns_us
    assert "3 times" in found.detail


def test_a_termination_is_told_from_it() -> None:
    subject = streams.terminated_advisory("ZW_JOBS", "build-production-v1")
    found = read(subject, json.dumps({**SAID, "reason": "x"}).encode())
    assert found is not None
    assert found.code == "terminated"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        *(
            json.dumps({**SAID, name: value}).encode()
            for name, value in [
                ("stream", None),
                ("stream", ""),
                ("consumer", 7),
                ("stream_seq", "7"),
                ("stream_seq", 0),
                ("stream_seq", True),
                ("stream_seq", 1 << 63),
                ("deliveries", -1),
            ]
        ),
    ],
)
def test_what_is_no_advisory_is_nothing(payload: bytes) -> None:
    assert read(SUBJECT, payload) is None


def test_another_subject_is_nothing() -> None:
    assert read("$JS.EVENT.ADVISORY.CONSUMER.CREATED.S.c", json.dumps(SAID).encode()) is None


@pytest.mark.parametrize(
    ("stream", "durable"),
    [
        ("ZW_DLQ", "dead-letters-v1"),
        ("ZW_DLQ", "an-operators-own"),
        ("ZW_ADVISORY", "advisories-v1"),
        ("ZW_LOGS", "x"),
        ("ZW_EVENTS", "redrives-v1"),
    ],
)
def test_the_end_of_the_road_does_not_feed_itself(stream: str, durable: str) -> None:
    assert not Advisory("max_deliveries", stream, durable, 1, 1).concerns_us


def test_every_durable_with_work_concerns_us() -> None:
    for durable in streams.DURABLES:
        advisory = Advisory("terminated", durable.stream, durable.name, 1, 1)
        assert advisory.concerns_us is not durable.endless
