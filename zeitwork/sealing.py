"""Secrets at rest: AES-256-GCM under a ring of keys, each value bound to the row that holds it.

The first key of the ring seals, all of them open. So a new key is put in front, everything is
sealed anew, and only then the old one is dropped. A nonce is 96 random bits: NIST SP 800-38D allows
2^32 values under one key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from zeitwork import ids
from zeitwork.errors import InvalidSettings, SealBroken, SealKeyMissing

_KEY_BYTES = 32
_NONCE_BYTES = 12
_FORMAT = "zeitwork/1"  # part of what is authenticated; another layout gets another name
_KEY_ID = re.compile(r"[a-z0-9]{1,16}")
_SETTING = "ZEITWORK_SECRET_KEYS"


@dataclass(frozen=True, slots=True)
class Key:
    """One key and the name by which sealed values refer to it."""

    id: str
    secret: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """As it stands in the setting."""
        return f"{self.id}:{base64.urlsafe_b64encode(self.secret).decode().rstrip('=')}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value: `content` is the nonce, the ciphertext and the tag."""

    key_id: str
    content: bytes


class KeyRing:
    """The keys of this process."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._sealing = keys[0] if keys else None
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}

    @property
    def sealing_id(self) -> str | None:
        """The key that seals; None on an empty ring."""
        return self._sealing.id if self._sealing is not None else None

    @property
    def ids(self) -> list[str]:
        return [*self._ciphers]

    def seal(self, plain: bytes, *, bound_to: Sequence[str]) -> Sealed:
        """Seal for one place: `bound_to` names the row, and opening needs the same words.

        Raises:
            SealKeyMissing: the ring is empty.
        """
        if self._sealing is None:
            raise SealKeyMissing(f"There is no key to seal secrets with: set {_SETTING}.")
        nonce = ids.random_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self._sealing.id]
        return Sealed(
            self._sealing.id,
            nonce + cipher.encrypt(nonce, plain, _bound(self._sealing.id, bound_to)),
        )

    def open(self, sealed: Sealed, *, bound_to: Sequence[str]) -> bytes:
        """The value.

        Raises:
            SealKeyMissing: its key is not on the ring.
            SealBroken: it was changed, or sealed for another place.
        """
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise SealKeyMissing(
                f"A secret is sealed with the key {sealed.key_id!r}, which {_SETTING} does not "
                "have: put the key back."
            )
        nonce, text = sealed.content[:_NONCE_BYTES], sealed.content[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, text, _bound(sealed.key_id, bound_to))
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                "A sealed secret does not belong where it was found, or was damaged: set it anew."
            ) from error


def new_key() -> Key:
    """A random key with a random name."""
    return Key(ids.random_bytes(4).hex(), ids.random_bytes(_KEY_BYTES))


def parse(setting: SecretStr) -> list[Key]:
    """The keys of `ID:KEY,ID:KEY`, KEY being 32 bytes in base64 (URL-safe or not).

    Raises:
        InvalidSettings: it is of another form; the message holds no part of a key.
    """
    keys = [
        _key(text.strip(), number)
        for number, text in enumerate(setting.get_secret_value().split(","), start=1)
        if text.strip()
    ]
    if len({key.id for key in keys}) < len(keys):
        raise InvalidSettings(f"{_SETTING} has two keys with one id; each needs its own.")
    return keys


def ring(setting: SecretStr) -> KeyRing:
    """The ring of a setting; see `parse`."""
    return KeyRing(parse(setting))


def _key(text: str, number: int) -> Key:
    key_id, _, encoded = text.partition(":")
    try:
        padded = encoded.replace("-", "+").replace("_", "/").rstrip("=")
        secret = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except ValueError as error:
        raise _bad_key(number) from error
    if not _KEY_ID.fullmatch(key_id) or len(secret) != _KEY_BYTES:
        raise _bad_key(number)
    return Key(key_id, secret)


def _bad_key(number: int) -> InvalidSettings:
    return InvalidSettings(
        f"Key {number} of {_SETTING} is not ID:KEY with an id of up to 16 letters and digits and "
        f"32 bytes in base64. Make one: zeitwork secrets create"
    )


def _bound(key_id: str, words: Sequence[str]) -> bytes:
    # Each word with its length, so that no two lists of words are the same bytes.
    return "".join(f"{len(word)}:{word}," for word in (_FORMAT, key_id, *words)).encode()
