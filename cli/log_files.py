"""Bounded log files: at its limit a file becomes NAME.1 and a new one begins."""

from __future__ import annotations

import os
from pathlib import Path

from cli import private_files

_MAX_BYTES = 8 * 1024 * 1024


class LogFile:
    """Appends lines to a file; together with its predecessor it takes twice `max_bytes` at most."""

    def __init__(self, path: Path, *, max_bytes: int = _MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._descriptor: int | None = None
        self._size = 0

    def write(self, line: str) -> None:
        """Append one line; opens the file when needed, so it is usable after `close` too.

        Raises:
            OSError: the disk is full or the directory is gone.
        """
        data = f"{line}\n".encode(errors="replace")
        if self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None  # noqa: S101 - just opened
        self._size += os.write(self._descriptor, data)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> None:
        private_files.directory(self.path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(self.path, flags, private_files.FILE_MODE)
        self._size = os.fstat(self._descriptor).st_size
        if self._size > self._max_bytes:
            self._rotate()
            self._open()

    def _rotate(self) -> None:
        self.close()
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._size = 0
