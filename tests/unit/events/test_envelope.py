"""Envelopes: what goes out as headers comes back as the same envelope."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.builds import BuildFailed, BuildStarted
from events.envelope import Envelope, unwrap, wrap
from events.event import NewerEvent, UndecodableEvent, UnknownEvent
from zeitwork import clock, context, ids

TOKEN = st.text(string.ascii_lowercase + string.digits + "_-", min_size=1, max_size=30)
FACT = BuildStarted(build_id="bld_1", deployment_id="dep_1")


@given(
    detail=st.text(max_size=200),
    subject=TOKEN,
    version=st.integers(1, 10**9),
    organisation=st.none() | TOKEN,
    project=st.none() | TOKEN,
    causation=st.none() | TOKEN,
    time=st.datetimes(datetime(1970, 1, 2), timezones=st.just(UTC)),  # noqa: DTZ001 - its zone follows
)
def test_an_envelope_survives_the_journey(
    *,
    detail: str,
    subject: str,
    version: int,
    organisation: str | None,
    project: str | None,
    causation: str | None,
    time: datetime,
) -> None:
    fact = BuildFailed(build_id="bld_1", deployment_id="dep_1", code="c", detail=detail)
    with clock.using(clock.FakeClock(time)), context.bind(causation_id=causation):
        envelope = wrap(
            fact,
            subject=subject,
            source="test",
            aggregate_version=version,
            organisation_id=organisation,
            project_id=project,
        )
    assert unwrap(envelope.headers(), envelope.data.encode()) == envelope


def test_header_names_are_read_in_any_case() -> None:
    envelope = wrap(FACT, subject="bld_1", source="test")
    shouted = {name.upper(): value for name, value in envelope.headers().items()}
    assert unwrap(shouted, FACT.encode()) == envelope


def test_headers_are_printable_single_lines() -> None:
    headers = wrap(FACT, subject="bld_1", source="test", project_id="prj_1").headers()
    for name, value in headers.items():
        assert name == name.lower()
        assert value.isprintable()


def test_absent_attributes_have_no_header() -> None:
    headers = wrap(FACT, subject="bld_1", source="test").headers()
    assert not {"ce-causationid", "ce-organisation", "ce-project", "traceparent"} & headers.keys()


def test_the_first_event_of_a_chain_correlates_with_itself() -> None:
    envelope = wrap(FACT, subject="bld_1", source="test")
    assert envelope.correlation_id == envelope.id
    assert envelope.causation_id is None
    assert ids.to_uuid(ids.Prefix.EVENT, envelope.id).version == 7


def test_later_events_name_their_cause() -> None:
    with context.bind(
        correlation_id="evt_a", causation_id="evt_b", actor="consumer:x", project_id="prj_1"
    ):
        envelope = wrap(FACT, subject="bld_1", source="test")
    assert envelope.correlation_id == "evt_a"
    assert envelope.causation_id == "evt_b"
    assert envelope.actor == "consumer:x"
    assert envelope.project_id == "prj_1"


def test_times_of_other_zones_are_the_same_moment() -> None:
    headers = wrap(FACT, subject="bld_1", source="test").headers()
    zone = timezone(timedelta(hours=2))
    headers["ce-time"] = datetime(2026, 1, 2, 5, tzinfo=zone).isoformat()
    assert unwrap(headers, FACT.encode()).time == datetime(2026, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"ce-id": None},
        {"ce-type": None},
        {"ce-schemaversion": "one"},
        {"ce-time": "yesterday"},
        {"ce-time": "2026-01-02T03:04:05"},
        {"ce-aggregateversion": ""},
        {"ce-correlationid": None},
    ],
)
def test_a_message_without_a_usable_envelope_is_undecodable(changes: dict[str, str | None]) -> None:
    headers = {**wrap(FACT, subject="bld_1", source="test").headers(), **changes}
    kept = {name: value for name, value in headers.items() if value is not None}
    with pytest.raises(UndecodableEvent):
        unwrap(kept, FACT.encode())


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"null", b"\xff", b'{"build_id": 1}'])
def test_a_payload_that_does_not_fit_is_undecodable(payload: bytes) -> None:
    headers = wrap(FACT, subject="bld_1", source="test").headers()
    with pytest.raises(UndecodableEvent):
        unwrap(headers, payload)


@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(wrap(FACT, subject="b", source="t").headers())),
        st.none() | st.text(max_size=30) | st.integers().map(str),
        max_size=4,
    ),
    payload=st.binary(max_size=40) | st.just(FACT.encode()) | st.text().map(str.encode),
)
def test_whatever_arrives_is_an_envelope_or_one_of_three_errors(
    changes: dict[str, str | None], payload: bytes
) -> None:
    headers = {**wrap(FACT, subject="bld_1", source="test").headers(), **changes}
    kept = {name: value for name, value in headers.items() if value is not None}
    try:
        envelope = unwrap(kept, payload)
    except (NewerEvent, UndecodableEvent, UnknownEvent):
        return
    assert envelope.data == FACT
    assert envelope.time.tzinfo is not None


def test_an_unknown_type_and_a_newer_version_are_told_apart() -> None:
    headers = wrap(FACT, subject="bld_1", source="test").headers()
    with pytest.raises(UnknownEvent):
        unwrap({**headers, "ce-type": "zeitwork.build.imagined"}, FACT.encode())
    with pytest.raises(NewerEvent):
        unwrap({**headers, "ce-schemaversion": "2"}, FACT.encode())


def test_an_envelope_does_not_change() -> None:
    envelope = wrap(FACT, subject="bld_1", source="test")
    with pytest.raises(ValueError, match="frozen"):
        envelope.id = "another"  # type: ignore[misc]
    assert isinstance(envelope, Envelope)
