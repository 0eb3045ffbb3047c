"""The outgoing HTTP session: every request has time-outs and a name."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from zeitwork import __version__

ClientError = aiohttp.ClientError
ConnectError = aiohttp.ClientConnectorError
ConnectTimeout = aiohttp.ConnectionTimeoutError
Response = aiohttp.ClientResponse
Session = aiohttp.ClientSession


def session(
    *,
    total: float | None = 30.0,
    connect: float = 5.0,
    silence: float | None = None,
    token: str | None = None,
    unix_socket: Path | None = None,
) -> aiohttp.ClientSession:
    """A session whose requests end within `total` seconds (None: streams bound themselves).

    Args:
        silence: seconds that the other side may take between two pieces of its answer.
        unix_socket: where every request goes, whatever host its address names.
    """
    headers = {"User-Agent": f"zeitwork/{__version__}"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=total, sock_connect=connect, sock_read=silence),
        headers=headers,
        connector=aiohttp.UnixConnector(str(unix_socket)) if unix_socket is not None else None,
    )
