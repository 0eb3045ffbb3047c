"""GitHub's webhook signature: HMAC-SHA256 over the raw body, in hex, behind `sha256=`.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac

from zeitwork.errors import BadSignature

_PREFIX = "sha256="


def sign(secret: str, body: bytes) -> str:
    """The value of `X-Hub-Signature-256`."""
    return _PREFIX + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(secret: str, body: bytes, signature: str | None) -> None:
    """Let a genuine delivery pass; the comparison takes the same time for every wrong signature.

    Raises:
        BadSignature: missing, malformed, or not of this body and secret.
    """
    if signature is None:
        raise BadSignature("The X-Hub-Signature-256 header is missing.")
    # aiohttp keeps bytes that are not UTF-8 as surrogates.
    given = signature.encode(errors="surrogateescape")
    if not hmac.compare_digest(sign(secret, body).encode(), given):
        raise BadSignature("X-Hub-Signature-256 does not match the body: check the secret.")
