"""Bearer tokens of the installation: one for people and scripts, one for node agents."""

from __future__ import annotations

import hmac

from aiohttp import web

from producers.api.call import Access
from zeitwork.config import Settings
from zeitwork.errors import Unauthenticated

_SCHEME = "bearer"


def authenticate(request: web.Request, access: Access, settings: Settings) -> str:
    """Who calls.

    Raises:
        Unauthenticated: no token, or one that this route does not take.
    """
    if access is Access.PUBLIC:
        return "anonymous"
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != _SCHEME:
        raise Unauthenticated("Send the token as `Authorization: Bearer …`.")
    user = settings.api_token.get_secret_value()
    node = settings.node_token.get_secret_value()
    if _equal(token, user) and access is Access.USER:
        return "api"
    if _equal(token, node) and access is Access.NODE:
        return "node"
    raise Unauthenticated("The token is not valid here.")


def _equal(given: str, expected: str) -> bool:
    # aiohttp keeps bytes that are not UTF-8 as surrogates.
    return bool(expected) and hmac.compare_digest(
        given.encode(errors="surrogateescape"), expected.encode()
    )
