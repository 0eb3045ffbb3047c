"""When GitHub wants no more calls, and until when; pure.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

from collections.abc import Mapping

_FORBIDDEN, _TOO_MANY = 403, 429
_UNSAID_SECONDS = 60.0  # what GitHub asks for where it names no time
_LONGEST_SECONDS = 3600.0  # its limits are counted by the hour


def pause(status: int, headers: Mapping[str, str], text: str, *, now: float) -> float | None:
    """Seconds to be silent after this answer; None when it is not about a limit.

    Args:
        now: seconds since 1970, in which GitHub says when its counting starts anew.
    """
    if status not in {_FORBIDDEN, _TOO_MANY}:
        return None
    retry_after = _number(headers.get("Retry-After"))
    if retry_after is not None:
        return _bounded(retry_after)
    if headers.get("X-RateLimit-Remaining") == "0":
        reset = _number(headers.get("X-RateLimit-Reset"))
        return _UNSAID_SECONDS if reset is None else _bounded(reset - now)
    if status == _TOO_MANY or "secondary rate limit" in text.lower():
        return _UNSAID_SECONDS
    return None


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 1.0), _LONGEST_SECONDS)
