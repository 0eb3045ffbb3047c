"""What every bus does to a message before it leaves."""

from __future__ import annotations

import pytest

from events import streams
from events.builds import BuildStarted
from events.bus import Message, StreamFull, addressed
from events.envelope import unwrap, wrap
from zeitwork.errors import BodyTooLarge, InvalidInput, Unavailable


def test_a_message_of_an_envelope_carries_all_of_it() -> None:
    fact = BuildStarted(build_id="bld_1", deployment_id="dep_1")
    envelope = wrap(fact, subject="bld_1", source="test")
    message = Message.of(envelope, "zw.evt.0.build.started.none.bld_1")
    assert message.id == envelope.id
    assert unwrap(message.headers, message.data) == envelope


def test_headers_for_a_broker_do_not_travel() -> None:
    headers = {"ce-id": "x", "Nats-Batch-Id": "1", "NATS-TTL": "1", "natsish": "kept"}
    stream, message = addressed(Message("zw.evt.0.a.b.c.d", b"x", headers, "id"))
    assert stream is streams.EVENTS
    assert message.headers == {"ce-id": "x", "natsish": "kept"}
    assert (message.id, message.data) == ("id", b"x")


def test_a_message_must_have_a_stream() -> None:
    with pytest.raises(InvalidInput, match=r"zw\.wake"):
        addressed(Message("zw.wake.outbox", b""))


def test_the_largest_message_leaves_room_for_the_driver() -> None:
    limit = streams.EVENTS.max_msg_size
    addressed(Message("zw.evt.x", b"x" * (limit - 300)))
    with pytest.raises(BodyTooLarge):
        addressed(Message("zw.evt.x", b"x" * (limit - 100)))
    with pytest.raises(BodyTooLarge):
        addressed(Message("zw.evt.x", b"", {"ce-subject": "x" * limit}))


def test_a_full_stream_is_worth_another_try() -> None:
    assert issubclass(StreamFull, Unavailable)
    assert (StreamFull.code, StreamFull.retryable) == ("stream_full", True)
