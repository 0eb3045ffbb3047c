"""Messages that no attempt could handle, as they go to ZW_DLQ: the body and why it is there."""

from __future__ import annotations

import re

from events import subjects
from events.bus import Message
from events.delivery import Delivery

_MAX_DETAIL = 500
_NOT_IN_A_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")


def dead_letter(message: Delivery, *, attempt: int, code: str, detail: str) -> Message:
    """The dead letter for a delivery; burying the same delivery twice stores it once.

    Args:
        attempt: how many times it was tried.
        code: of the error; becomes the last token of the subject.
        detail: one line for people, without secrets.
    """
    stream, durable, sequence = message.stream, message.durable, message.sequence
    headers = {
        **message.headers,
        "zw-subject": message.subject,
        "zw-stream": stream,
        "zw-durable": durable,
        "zw-sequence": str(sequence),
        "zw-attempts": str(attempt),
        "zw-error-code": code,
        "zw-error": " ".join(detail.split())[:_MAX_DETAIL],
    }
    reason = _NOT_IN_A_TOKEN.sub("-", code)
    return Message(
        subjects.dead_letter(stream, durable, reason),
        message.data,
        headers,
        id=f"dlq:{durable}:{sequence}",
    )
