"""Typed, time-ordered ids: a prefix and a UUIDv7 in Crockford base 32.

The text form is TypeID 0.3 (`dep_01jd2v…`, 26 characters behind the prefix); the database holds
the bare UUID. https://github.com/jetify-com/typeid/tree/main/spec
"""

from __future__ import annotations

import secrets
from enum import StrEnum
from uuid import UUID

from zeitwork import clock
from zeitwork.errors import InvalidInput

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = {letter: value for value, letter in enumerate(_ALPHABET)}
_SUFFIX_LENGTH = 26
_MAX_UUID = (1 << 128) - 1


class Prefix(StrEnum):
    """The kinds of things that carry an id."""

    ARTIFACT = "art"
    BUILD = "bld"
    DEAD_LETTER = "dlt"
    DELIVERY = "dlv"
    DEPLOYMENT = "dep"
    ENVIRONMENT = "env"
    EVENT = "evt"
    HOOK = "hok"
    INSTANCE = "ins"
    NODE = "nod"
    OPERATION = "opr"
    ORGANISATION = "org"
    PREVIEW = "pvw"
    PROJECT = "prj"
    TRIGGER = "trg"
    USER = "usr"
    VARIABLE = "var"


def new(prefix: Prefix) -> str:
    """A fresh id; ids made later sort later (to the millisecond)."""
    return from_uuid(prefix, new_uuid())


def new_uuid() -> UUID:
    """A UUIDv7 (RFC 9562)."""
    milliseconds = int(clock.now().timestamp() * 1000)
    value = (milliseconds << 80) | secrets.randbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)  # version
    value = (value & ~(0x3 << 62)) | (0x2 << 62)  # variant
    return UUID(int=value)


def from_uuid(prefix: Prefix, value: UUID) -> str:
    number = value.int
    letters = []
    for _ in range(_SUFFIX_LENGTH):
        letters.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(letters))}"


def to_uuid(prefix: Prefix, text: str) -> UUID:
    """The UUID of `text`.

    Raises:
        InvalidInput: not an id of this kind.
    """
    kind, _, suffix = text.partition("_")
    number = 0
    if kind != prefix or len(suffix) != _SUFFIX_LENGTH or not set(suffix) <= _DIGITS.keys():
        raise InvalidInput(f"{text!r} is not an id of the form {prefix}_…")
    for letter in suffix:
        number = number << 5 | _DIGITS[letter]
    if number > _MAX_UUID:
        raise InvalidInput(f"{text!r} is not an id of the form {prefix}_…")
    return UUID(int=number)


def token(length: int = 32) -> str:
    """A secret of `length` random bytes, URL-safe."""
    return secrets.token_urlsafe(length)


def random_bytes(count: int) -> bytes:
    """For nonces and keys."""
    return secrets.token_bytes(count)
