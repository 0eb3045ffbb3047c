"""The grammar of subjects, and of the names of streams, durables and event types; pure.

A token is an id or a fixed word of ASCII letters, digits, `_` and `-`. NATS itself takes far more,
and gives some of it a meaning: a dot begins the next token, `*` and `>` match others' messages, a
space or line break ends the command. So nothing else is let into a subject, wherever it is from.
"""

from __future__ import annotations

import re
from typing import Final

from zeitwork.errors import InvalidInput

MAX_LENGTH: Final = 128  # of a token; the server's own limit for names is 255
WILD: Final = "*"

_TOKEN = r"[A-Za-z0-9_-]{1,%d}" % MAX_LENGTH  # noqa: UP031 - braces mean something in both
_IS_TOKEN = re.compile(_TOKEN)
_IS_SUBJECT = re.compile(rf"{_TOKEN}(?:\.{_TOKEN})*")
_PART = rf"(?:{_TOKEN}|\*)"
_IS_FILTER = re.compile(rf"\$?{_PART}(?:\.{_PART})*(?:\.>)?")
_IS_TYPE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


class InvalidName(InvalidInput):
    """A subject or a name in it breaks the grammar; nothing of it was sent."""

    code = "invalid_name"


def token(text: str) -> str:
    """`text`, which may stand between two dots of a subject, or name a stream or durable.

    Raises:
        InvalidName: it may not.
    """
    if not _IS_TOKEN.fullmatch(text):
        raise InvalidName(
            f"{_shown(text)} cannot be part of a subject: use 1 to {MAX_LENGTH} ASCII letters, "
            "digits, _ and -."
        )
    return text


def wildcard(text: str) -> str:
    """`text`, which may stand between two dots of a filter: a token, or `*` for any.

    Raises:
        InvalidName: it may not.
    """
    return text if text == WILD else token(text)


def subject(text: str) -> str:
    """`text`, which may be published on.

    Raises:
        InvalidName: it may not.
    """
    if not _IS_SUBJECT.fullmatch(text):
        raise InvalidName(f"{_shown(text)} is not a subject: tokens, with dots between them.")
    return text


def pattern(text: str) -> str:
    """`text`, which may filter subjects: `*` matches a token, a last `>` one or more.

    Raises:
        InvalidName: it may not.
    """
    if not _IS_FILTER.fullmatch(text):
        raise InvalidName(f"{_shown(text)} is not a filter of subjects.")
    return text


def event_type(text: str) -> str:
    """`text`, which may name an event type: `aggregate.event`, the two words of its subject.

    Raises:
        InvalidName: it may not.
    """
    if not _IS_TYPE.fullmatch(text):
        raise InvalidName(f"{_shown(text)} is not an event type of the form aggregate.event.")
    return text


def _shown(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= MAX_LENGTH else f"{shown[:MAX_LENGTH]}…"
