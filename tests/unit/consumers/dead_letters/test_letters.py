"""A letter as it is written, and what is read from one that anyone may have written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import String

from consumers.dead_letters.advisory import Advisory
from consumers.dead_letters.letter import dead_letter, given_up
from consumers.dead_letters.reading import read
from db.models import DeadLetter
from events.builds import BuildStarted
from events.bus import Message, Stored
from events.envelope import wrap
from events.memory_durable import MemoryDelivery, MemoryDurable
from events.memory_log import Log
from events.streams import DEPLOYMENTS, DLQ, EVENTS, Durable
from zeitwork import ids

BURIAL = Durable("dead-letters-v1", "of a test", DLQ.name, ("zw.dlq.>",))
FACT = wrap(
    BuildStarted(build_id="bld", deployment_id="dep"),
    subject="bld",
    source="test",
    organisation_id=ids.new(ids.Prefix.ORGANISATION),
    project_id=ids.new(ids.Prefix.PROJECT),
)
FACT_SUBJECT = "zw.evt.3.build.started.prj.bld"


def delivery(message: Message, *, of: Durable = DEPLOYMENTS, sequence: int = 12) -> MemoryDelivery:
    entry = Stored(message.subject, message.data, message.headers, sequence)
    stream = EVENTS if of.stream == EVENTS.name else DLQ
    source = MemoryDurable(of, Log(stream), advise=lambda _: None)
    return MemoryDelivery(source, entry, 1)


def fact(**headers: str) -> Message:
    message = Message.of(FACT, FACT_SUBJECT)
    return Message(message.subject, message.data, {**message.headers, **headers}, message.id)


def buried(message: Message, **changes: Any) -> Message:
    said: dict[str, Any] = {"attempt": 3, "code": "unavailable", "detail": "no\n  luck", **changes}
    return dead_letter(delivery(message), **said)


def test_what_is_written_is_read() -> None:
    row = read(delivery(buried(fact()), of=BURIAL, sequence=1))
    assert (row.stream, row.durable, row.sequence) == ("ZW_EVENTS", "deployments-v1", 12)
    assert (row.subject, row.payload) == (FACT_SUBJECT, FACT.data.encode())
    assert (row.attempts, row.error_code, row.error_detail) == (3, "unavailable", "no luck")
    assert (row.event_id, row.event_type) == (FACT.id, "build.started")
    assert row.correlation_id == FACT.correlation_id
    assert (row.organisation_id, row.project_id) == (FACT.organisation_id, FACT.project_id)
    assert row.headers == FACT.headers()


def test_the_server_s_word_makes_the_same_letter() -> None:
    message = fact()
    stored = Stored(message.subject, message.data, message.headers, 12)
    advisory = Advisory("max_deliveries", EVENTS.name, DEPLOYMENTS.name, 12, 76)
    letter = given_up(stored, advisory)
    assert letter.id == buried(message).id == "dlq:deployments-v1:12"
    assert letter.subject == "zw.dlq.ZW_EVENTS.deployments-v1.max_deliveries"
    assert read(delivery(letter, of=BURIAL)).attempts == 76


def test_a_letter_holds_no_header_that_a_client_refuses_or_takes_for_its_own() -> None:
    letter = buried(fact(**{"": "a", "a b": "c", "x(1)": "d", "é": "e", "STATUS": "503"}))
    assert letter.headers.keys() >= FACT.headers().keys()
    assert not letter.headers.keys() & {"", "a b", "x(1)", "é", "STATUS"}


def test_a_second_letter_says_what_failed_now() -> None:
    old = {"ZW-Error": "of before", "zw-durable": "other-v1", "zw-redrive-of": "dlt_x"}
    letter = buried(fact(**old))
    assert letter.headers["zw-error"] == "no luck"
    row = read(delivery(letter, of=BURIAL))
    assert row.durable == DEPLOYMENTS.name
    assert row.headers == {**FACT.headers(), "zw-redrive-of": "dlt_x"}


def test_a_code_with_dots_stays_one_token() -> None:
    letter = buried(fact(), code="a.b c>*")
    assert letter.subject.removeprefix("zw.dlq.ZW_EVENTS.deployments-v1.") == "a-b-c-"


def test_a_letter_without_a_word_is_its_own_origin() -> None:
    row = read(delivery(Message("zw.dlq.S.some-v1.why", b""), of=BURIAL, sequence=5))
    assert (row.stream, row.durable, row.sequence) == ("ZW_DLQ", "some-v1", 5)
    assert (row.error_code, row.attempts, row.error_detail) == ("why", 0, "")
    row = read(delivery(Message("zw.dlq.x", b""), of=BURIAL, sequence=5))
    assert (row.durable, row.error_code) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("ce-id", "event_id"),
        ("ce-type", "event_type"),
        ("ce-correlationid", "correlation_id"),
        ("ce-organisation", "organisation_id"),
        ("ce-project", "project_id"),
    ],
)
@pytest.mark.parametrize("value", ["", "x" * 65, "a\tb"])
def test_an_attribute_that_cannot_be_is_none(header: str, column: str, value: str) -> None:
    row = read(delivery(buried(fact(**{header: value})), of=BURIAL))
    assert getattr(row, column) is None


NAMES = st.sampled_from(
    [*FACT.headers(), *buried(fact()).headers, "Zw-Sequence", "nats-msg-id", "x"]
)


@settings(max_examples=300, deadline=None)
@given(
    headers=st.dictionaries(NAMES, st.text(st.characters(codec=None), max_size=300)),
    subject=st.text(st.characters(codec="utf-8"), max_size=400),
)
def test_every_letter_has_a_row_that_the_table_takes(headers: dict[str, str], subject: str) -> None:
    row = read(delivery(Message(f"zw.dlq.{subject}", b"", headers), of=BURIAL))
    for name in ("stream", "durable", "subject", "event_type", "correlation_id", "error_code"):
        value = getattr(row, name)
        column = DeadLetter.__table__.c[name].type
        assert isinstance(column, String)
        assert value is None or len(value) <= (column.length or 0)
    assert 0 < row.sequence < 1 << 63
    assert 0 <= row.attempts < 1 << 31
    for text in [row.error_code, row.subject, *row.headers, *row.headers.values()]:
        assert "\x00" not in text
        text.encode()
