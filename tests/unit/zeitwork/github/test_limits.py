"""GitHub's ways to say: not now."""

from __future__ import annotations

import pytest

from zeitwork.github.limits import pause

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("status", "headers", "text", "seconds"),
    [
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000030"}, "", None),
        (403, {}, '{"message": "Resource not accessible by integration"}', None),
        (403, {"X-RateLimit-Remaining": "12"}, "", None),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000030"}, "", 30.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "999000"}, "", 1.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999"}, "", 3600.0),
        (403, {"X-RateLimit-Remaining": "0"}, "", 60.0),
        (403, {}, "You have exceeded a Secondary Rate Limit", 60.0),
        (429, {"Retry-After": "7"}, "", 7.0),
        (429, {"Retry-After": "7", "X-RateLimit-Remaining": "0"}, "", 7.0),
        (429, {"Retry-After": "-7"}, "", 60.0),
        (429, {"Retry-After": "soon"}, "", 60.0),
        (429, {"Retry-After": "\u0663"}, "", 60.0),
        (503, {"Retry-After": "7"}, "", None),
    ],
)
def test_how_long_to_be_silent(
    status: int, headers: dict[str, str], text: str, seconds: float | None
) -> None:
    assert pause(status, headers, text, now=NOW) == seconds
