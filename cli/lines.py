"""Reads what a program writes, line by line, from a pipe of our own.

asyncio's `stdout=PIPE` is not used: with it, `Process.wait` returns only when everybody who holds
the pipe has closed it, and a dead program's own children may hold it for long.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from typing_extensions import override

MAX_LINE_BYTES = 16 * 1024


class Lines(asyncio.Protocol):
    """Calls `on_line` with each line as it comes; longer ones come in pieces.

    Attributes:
        ended: set when nobody writes any more.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None
        self.ended = asyncio.Event()

    async def open(self) -> int:
        """Make the pipe; the descriptor to write to, which the caller closes."""
        read_end, write_end = os.pipe()
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: self, os.fdopen(read_end, "rb", buffering=0))
        except BaseException:
            os.close(write_end)
            raise
        return write_end

    async def close(self, *, within_seconds: float) -> None:
        """Take what is still in the pipe, but wait for no one who keeps it open."""
        try:
            async with asyncio.timeout(within_seconds):
                await self.ended.wait()
        except TimeoutError:
            if self._transport is not None:
                self._transport.close()
            await self.ended.wait()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= MAX_LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        for line in whole:
            self._emit(line)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._emit(self._rest)
            self._rest = b""
        self.ended.set()

    def _emit(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), MAX_LINE_BYTES):
            piece = line[start : start + MAX_LINE_BYTES]
            self._on_line(piece.rstrip(b"\r").decode("utf-8", "replace"))
