"""What an operator may ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from events import streams
from events.operation_params import KINDS, ReplayParams, UnknownKind, params_of, replayable
from zeitwork import clock

_NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def replay(**changes: Any) -> ReplayParams:
    return ReplayParams(**{"mode": "dry", "consumer": "routing-v1", **changes})


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match="rebuild-routing, refill, replay"):
        params_of("drop-everything", {})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_unknown_parameter_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="surprise"):
        params_of(kind, {"mode": "dry", "consumer": "routing-v1", "surprise": 1})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_stored_parameters_can_be_read_again(kind: str) -> None:
    said = {"mode": "again", "consumer": "routing-v1", "since": "2h"} if kind == "replay" else {}
    params = params_of(kind, said)
    assert params_of(kind, params.model_dump(mode="json", exclude_none=True)) == params


def test_times_are_moments_or_how_long_ago() -> None:
    with clock.using(clock.FakeClock(_NOW)):
        assert replay(since="10m").since == _NOW - timedelta(minutes=10)
        assert replay(since="99999d").since == _NOW - timedelta(days=99999)
    assert replay(since="2026-05-01T10:00:00").since == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert replay(since="2026-05-01T10:00:00+02:00").since == datetime(2026, 5, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": "yesterday"},
        {"since": "10 m"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"subject": "zw.evt.(a+)+$"},
        {"subject": "zw.>.instance"},
        {"subject": ""},
        {"subject": "zw..x"},
        {"type": "deployment.'"},
        {"type": "deployment."},
        {"limit": 0},
        {"limit": 501},
        {"mode": "both"},
        {"consumer": "nobody-v1"},
        {"consumer": streams.OPERATIONS.name},
        {"consumer": streams.DEAD_LETTERS.name},
        {"consumer": streams.BUILDS_PRODUCTION.name, "mode": "again"},
    ],
    ids=str,
)
def test_what_is_not_of_the_form_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        replay(**wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"subject": "zw.evt.>"},
        {"subject": "zw.evt.*.instance.ready.*.*"},
        {"subject": "dep_01m8710dacet0rkm5m93pk0aaf"},
        {"type": "*.failed"},
        {"limit": 501, "mode": "again"},
        {"consumer": streams.BUILDS_PRODUCTION.name},
    ],
    ids=str,
)
def test_what_is_of_the_form_passes(right: dict[str, Any]) -> None:
    assert replay(**right).model_dump(exclude_none=True).items() >= right.items()


def test_work_cannot_be_replayed_for_real() -> None:
    assert {durable.stream for durable in replayable("again")} == {streams.EVENTS.name}
    assert not any(durable.endless for durable in replayable("dry"))
