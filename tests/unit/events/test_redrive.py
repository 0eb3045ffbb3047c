"""Where a dead letter's message goes when it is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from events import streams
from events.memory_log import matches
from events.redrive import NotRedrivable, redriven
from zeitwork.errors import BodyTooLarge


@dataclass(frozen=True)
class Letter:
    """See `events.redrive.Buried`."""

    id: str = "dlt_1"
    stream: str = "ZW_EVENTS"
    durable: str = "deployments-v1"
    subject: str = "zw.evt.3.build.started.prj.bld"
    headers: dict[str, str] = field(default_factory=dict)
    payload: bytes = b"{}"


def takers(subject: str) -> list[str]:
    return [
        durable.name
        for durable in streams.DURABLES
        if any(matches(pattern, subject) for pattern in durable.filters)
    ]


@pytest.mark.parametrize(
    "durable",
    [one for one in streams.DURABLES if one.stream == "ZW_EVENTS"],
    ids=lambda one: one.name,
)
def test_only_the_durable_that_failed_takes_it(durable: streams.Durable) -> None:
    message = redriven(Letter(durable=durable.name))
    assert takers(message.subject) == [durable.name]
    assert message.subject == f"zw.redrive.{durable.name}.evt.3.build.started.prj.bld"


def test_a_job_goes_to_its_own_subject() -> None:
    durable = streams.BUILDS_PRODUCTION
    subject = "zw.job.build.production.prj.bld"
    message = redriven(Letter(stream="ZW_JOBS", durable=durable.name, subject=subject))
    assert message.subject == subject
    assert takers(subject) == [durable.name]


def test_a_second_redrive_has_the_same_subject() -> None:
    first = redriven(Letter())
    second = redriven(Letter(id="dlt_2", subject=first.subject, headers=dict(first.headers)))
    assert second.subject == first.subject
    assert second.headers == {"zw-redrive-of": "dlt_2"}
    assert (first.id, second.id) == ("redrive:dlt_1", "redrive:dlt_2")


def test_only_what_the_platform_added_is_left_out() -> None:
    own = {"ce-id": "evt_1", "traceparent": "00-a-b-01", "X-Own": "é"}
    added = {"Nats-Msg-Id": "x", "nats-batch-id": "x", "zw-error": "x", "ZW-Durable": "x"}
    assert redriven(Letter(headers={**own, **added})).headers == {**own, "zw-redrive-of": "dlt_1"}


@pytest.mark.parametrize(
    "letter",
    [
        Letter(durable="gone-v1"),
        Letter(stream="ZW_DLQ"),
        Letter(stream="ZW_JOBS"),
        Letter(subject="zw.evt.*.x"),
        Letter(subject="zw.evt. .x"),
        Letter(subject="zw.evt..x"),
        Letter(subject=">"),
        Letter(stream="ZW_JOBS", durable=streams.BUILDS_PRODUCTION.name),
    ],
)
def test_what_would_reach_nobody_is_refused(letter: Letter) -> None:
    with pytest.raises(NotRedrivable):
        redriven(letter)


def test_what_its_stream_would_refuse_is_refused_at_once() -> None:
    with pytest.raises(BodyTooLarge):
        redriven(replace(Letter(), payload=b"x" * streams.EVENTS.max_msg_size))
