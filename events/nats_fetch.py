"""Reads one message of a stream by its place, whatever its headers say.

nats-py's own `get_msg` takes a stored header named `Status` for the answer's (direct form) or gives
objects for values that are not ASCII (plain form). The plain form asks the stream's leader, so a
replica that lags cannot say that a message is gone.
"""

from __future__ import annotations

import base64
import json

import nats.js.errors
from nats.aio.client import Client

from events.bus import Stored

_TIMEOUT_SECONDS = 5.0
_NO_MESSAGE = 10037


async def fetched(client: Client, stream: str, sequence: int) -> Stored | None:
    """The message, None when there is none.

    Raises:
        APIError, Error: nats-py's own.
    """
    answer = await client.request(
        f"$JS.API.STREAM.MSG.GET.{stream}",
        json.dumps({"seq": sequence}).encode(),
        timeout=_TIMEOUT_SECONDS,
    )
    said = json.loads(answer.data)
    if refusal := said.get("error"):
        if refusal.get("err_code") == _NO_MESSAGE:
            return None
        nats.js.errors.APIError.from_error(refusal)
    found = said["message"]
    return Stored(
        found["subject"],
        base64.b64decode(found.get("data", "")),
        _headers(base64.b64decode(found.get("hdrs", ""))),
        found["seq"],
    )


def _headers(block: bytes) -> dict[str, str]:
    """Names and values behind the version line, read as nats-py reads a delivery's."""
    headers = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.isascii() and not any(char in name.strip() for char in b" \t\v\f"):
            headers[name.strip().decode()] = value.strip().decode(errors="replace")
    return headers
