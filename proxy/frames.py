"""WebSocket frames, as far as needed to end a tunnel between two of them (RFC 6455 §5). Pure."""

from __future__ import annotations

from typing import Final

# 1001: "an endpoint is going away, such as a server going down" (§7.4.1).
GOING_AWAY: Final = b"\x88\x02\x03\xe9"
# A client's frames are masked; the key hides nothing here, since the payload is fixed.
GOING_AWAY_MASKED: Final = b"\x88\x82\x5a\x57\x5a\x57" + bytes([0x03 ^ 0x5A, 0xE9 ^ 0x57])

_MASKED = 0x80
_LENGTH = 0x7F
_MAX_HEADER = 14


class FrameCursor:
    """Follows one direction of a tunnel and knows where frames end."""

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0  # of the frame whose header is known

    @property
    def between(self) -> bool:
        """Whether the next byte begins a frame."""
        return not self._left and not self._header

    def advance(self, data: bytes) -> None:
        """Follow all of `data`."""
        if len(data) < self._left:
            self._left -= len(data)
            return
        at = 0
        while at < len(data):
            at = self._step(data, at)

    def finish(self, data: bytes) -> int:
        """Follow `data` to the end of the frame in hand; how much of it that is."""
        at = 0
        while at < len(data) and not self.between:
            at = self._step(data, at)
        return at

    def _step(self, data: bytes, at: int) -> int:
        """Go on by the rest of a frame, or by what can be told of its header."""
        if self._left:
            taken = min(self._left, len(data) - at)
            self._left -= taken
            return at + taken
        held = self._header
        header = held + data[at : at + _MAX_HEADER - len(held)]
        sizes = _sizes(header)
        if sizes is None:
            self._header = header
            return len(data)
        header_size, payload = sizes
        self._header = b""
        self._left = payload
        return at + header_size - len(held)


def _sizes(header: bytes) -> tuple[int, int] | None:
    """The sizes of header and payload; None while the header is not complete."""
    if len(header) < 2:  # noqa: PLR2004
        return None
    length = header[1] & _LENGTH
    extended = {126: 2, 127: 8}.get(length, 0)
    size = 2 + extended + (4 if header[1] & _MASKED else 0)
    if len(header) < size:
        return None
    return size, int.from_bytes(header[2 : 2 + extended], "big") if extended else length
