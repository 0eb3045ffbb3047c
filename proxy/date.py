"""The Date field of responses, formatted once a second (RFC 9110 §6.6.1)."""

from __future__ import annotations

from email.utils import format_datetime

from zeitwork import clock


class HTTPDate:
    """The current date in the format of HTTP."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        second = int(clock.monotonic())
        if second != self._second:
            self._second = second
            self._text = format_datetime(clock.now(), usegmt=True).encode("ascii")
        return self._text
