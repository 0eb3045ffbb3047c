"""The App's private key and the short-lived tokens (JWT) that it signs.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zeitwork import clock
from zeitwork.errors import InvalidSettings

_SKEW = timedelta(seconds=60)  # GitHub refuses a token from its own future
_LIFE = timedelta(minutes=9)  # ten is the most that it takes


class AppKey:
    """Signs as the App; the key itself is shown by nothing."""

    def __init__(self, app_id: str, key: RSAPrivateKey) -> None:
        self.app_id = app_id
        self._key = key

    def token(self) -> str:
        """A token that says: the bearer is this App."""
        now = clock.now()
        claims = {
            "iss": self.app_id,
            "iat": int((now - _SKEW).timestamp()),
            "exp": int((now + _LIFE).timestamp()),
        }
        return jwt.encode(claims, self._key, algorithm="RS256")


def read(app_id: str, path: Path) -> AppKey:
    """The key in a PEM file, as GitHub hands it out.

    Raises:
        InvalidSettings: the file cannot be read, or holds no RSA private key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise InvalidSettings(
            f"ZEITWORK_GITHUB__PRIVATE_KEY_FILE cannot be read: {error.strerror}"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's own words may quote the file.
        raise InvalidSettings(
            "ZEITWORK_GITHUB__PRIVATE_KEY_FILE holds no private key in PEM form without a password."
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise InvalidSettings("ZEITWORK_GITHUB__PRIVATE_KEY_FILE holds a key, but not an RSA key.")
    return AppKey(app_id, key)
