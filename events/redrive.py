"""The message that hands a dead letter back to the durable that failed, and to no other; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol

from events import streams, subjects
from events.bus import Message, addressed
from zeitwork.errors import Conflict

MARK: Final = "zw-redrive-of"  # names the dead letter that a message was
_OURS = ("nats-", "zw-")
_SUBJECT = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)+")


class NotRedrivable(Conflict):
    """No durable of this version would get the message."""

    code = "not_redrivable"


class Buried(Protocol):
    """What is known of a dead letter's message; `headers` as they were, or with ours added."""

    @property
    def id(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def durable(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def payload(self) -> bytes: ...


def redriven(letter: Buried) -> Message:
    """The original body and headers, addressed to one durable; publishing twice stores it once.

    A job goes to its own subject, which only one durable takes.

    Raises:
        NotRedrivable: the durable does not exist, or the subject cannot be used.
        BodyTooLarge: its stream would refuse it.
    """
    durable = streams.durable(letter.durable)
    if durable is None or durable.stream != letter.stream:
        raise NotRedrivable(
            f"{letter.id} was for {letter.durable} on {letter.stream}, which this version of "
            "Zeitwork does not have. Discard it."
        )
    if not _SUBJECT.fullmatch(letter.subject):
        raise NotRedrivable(f"{letter.id} has no subject that can be used again. Discard it.")
    queued = durable.stream == streams.JOBS.name
    headers = {
        name: value for name, value in letter.headers.items() if not name.lower().startswith(_OURS)
    }
    message = Message(
        letter.subject if queued else subjects.redriven(letter.durable, letter.subject),
        letter.payload,
        {**headers, MARK: letter.id},
        f"redrive:{letter.id}",
    )
    stream, _ = addressed(message)
    if stream.name != durable.stream:
        raise NotRedrivable(f"{letter.subject} does not lead to {letter.durable}. Discard it.")
    return message
