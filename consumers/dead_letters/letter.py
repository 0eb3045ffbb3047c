"""Messages that no attempt could handle, as they go to ZW_DLQ: the body and why; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from consumers.dead_letters.advisory import Advisory
from events import subjects
from events.bus import Message, Stored
from events.delivery import Delivery

_MAX_DETAIL = 500
_NOT_IN_A_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")
# What a client can send (RFC 9110 tokens). The server takes anything from whoever speaks its
# protocol, and a letter that cannot be sent would leave its message unburied.
_SENDABLE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# A client takes a message with this header for a refusal by the server, and never hands it on.
_MISTAKEN = "status"


def dead_letter(message: Delivery, *, attempt: int, code: str, detail: str) -> Message:
    """The dead letter for a delivery; burying the same delivery twice stores it once.

    Args:
        attempt: how many times it was tried.
        code: of the error; becomes the last token of the subject.
        detail: one line for people, without secrets.
    """
    about = {
        "zw-subject": message.subject,
        "zw-stream": message.stream,
        "zw-durable": message.durable,
        "zw-sequence": str(message.sequence),
        "zw-attempts": str(attempt),
        "zw-error-code": code,
        "zw-error": " ".join(detail.split())[:_MAX_DETAIL],
    }
    return _letter(message.data, message.headers, about)


def given_up(stored: Stored, advisory: Advisory) -> Message:
    """The dead letter for a message that the server stopped delivering; the same id as above."""
    about = {
        "zw-subject": stored.subject,
        "zw-stream": advisory.stream,
        "zw-durable": advisory.durable,
        "zw-sequence": str(advisory.sequence),
        "zw-attempts": str(advisory.deliveries),
        "zw-error-code": advisory.code,
        "zw-error": advisory.detail,
    }
    return _letter(stored.data, stored.headers, about)


def _letter(data: bytes, headers: Mapping[str, str], about: Mapping[str, str]) -> Message:
    kept = {
        name: value
        for name, value in headers.items()
        if _SENDABLE.fullmatch(name) and name.lower() not in {*about, _MISTAKEN}
    }
    stream, durable, reason = (
        _NOT_IN_A_TOKEN.sub("-", about[name])
        for name in ("zw-stream", "zw-durable", "zw-error-code")
    )
    return Message(
        subjects.dead_letter(stream, durable, reason),
        data,
        {**kept, **about},
        id=f"dlq:{about['zw-durable']}:{about['zw-sequence']}",
    )
