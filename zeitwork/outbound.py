"""The outgoing HTTP session: every request has time-outs and a name."""

from __future__ import annotations

import aiohttp

from zeitwork import __version__

ClientError = aiohttp.ClientError
Response = aiohttp.ClientResponse
Session = aiohttp.ClientSession


def session(
    *, total: float | None = 30.0, connect: float = 5.0, token: str | None = None
) -> aiohttp.ClientSession:
    """A session whose requests end within `total` seconds (None: streams bound themselves)."""
    headers = {"User-Agent": f"zeitwork/{__version__}"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=total, sock_connect=connect),
        headers=headers,
    )
