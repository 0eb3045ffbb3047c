"""Bodies: where each ends, and how it is written again. Pure, and the same in both directions.

A reader takes what the socket gave and returns the payload in it and, once the body has ended,
the bytes behind it. Framing is never passed through: `chunk` and `LAST_CHUNK` write it anew.
RFC 9112 §6 and §7.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from zeitwork.errors import InvalidInput

LAST_CHUNK: Final = b"0\r\n\r\n"

_CRLF = b"\r\n"
_MAX_SIZE_LINE = 16 + 1024  # 16 digits and 1 KiB of extensions
_MAX_EXTENSIONS = 16 * 1024  # of one body: they carry nothing, so a flood of them is an attack
_MAX_TRAILERS = 32 * 1024

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*)"
    % (_TOKEN, _TOKEN, _QUOTED)
)
_TRAILER = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*")

_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)


class BadFraming(InvalidInput):
    """The body breaks the rules of its framing; nothing behind that point can be trusted."""

    code = "bad_framing"


class BodyReader(Protocol):
    """Finds the end of one body."""

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The payload in `data`; and None, or at the end of the body the bytes behind it.

        Raises:
            BadFraming: the connection is of no further use.
        """


class LengthBody:
    """A body of known length, which is not zero."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        if len(data) < self._left:
            self._left -= len(data)
            return data, None
        end, self._left = self._left, 0
        return data[:end], data[end:]


class EndlessBody:
    """A body that ends with its connection; only responses may have one."""

    __slots__ = ()

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        return data, None


class ChunkedBody:
    """A chunked body. Extensions and trailers are checked and dropped."""

    __slots__ = ("_extensions", "_held", "_left", "_state", "_trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._held = b""
        self._extensions = 0
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        data = self._held + data if self._held else data
        self._held = b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._state == _DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _DATA_END
                continue
            end = self._line_end(data, at)
            if end is None:
                self._held = data[at:]
                break
            line, at = data[at:end], end + 2
            if self._state == _TRAILERS and not line:
                return b"".join(pieces), data[at:]
            self._line(line)
        return b"".join(pieces), None

    def _line_end(self, data: bytes, at: int) -> int | None:
        if self._state == _DATA_END:
            tail = data[at : at + 2]
            if tail == _CRLF:
                return at
            if tail == b"\r":
                return None
            raise BadFraming("chunk data must be followed by CRLF")
        limit = _MAX_SIZE_LINE if self._state == _SIZE else _MAX_TRAILERS
        end = data.find(_CRLF, at, at + limit + 2)
        if end >= 0:
            return end
        if len(data) - at >= limit + 2:
            raise BadFraming("a line of the chunked framing is too long")
        return None

    def _line(self, line: bytes) -> None:
        if self._state == _DATA_END:
            self._state = _SIZE
        elif self._state == _SIZE:
            self._size(line)
        else:
            self._trailers += len(line) + 2
            if self._trailers > _MAX_TRAILERS or not _TRAILER.fullmatch(line):
                raise BadFraming("a trailer is not a header field, or there are too many")

    def _size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise BadFraming("a chunk size is not hexadecimal")
        digits, extensions = match.groups()
        self._extensions += len(extensions)
        if self._extensions > _MAX_EXTENSIONS:
            raise BadFraming("too many chunk extensions")
        self._left = int(digits, 16)
        self._state = _DATA if self._left else _TRAILERS


def chunk(payload: bytes) -> bytes:
    """One chunk; `payload` must not be empty, that would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)
