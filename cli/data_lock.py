"""One `zeitwork up` per data directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli import private_files
from zeitwork.errors import Conflict


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Hold the directory for the block; the kernel lets go when this process ends in any way.

    Raises:
        Conflict: another process holds it; the message names it.
    """
    private_files.directory(data_dir / "run")
    path = data_dir / "run" / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, private_files.FILE_MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text().strip() or "unknown"
            raise Conflict(
                f"Zeitwork already runs on {data_dir} (process {holder}); "
                "end that one first, or choose another directory with --data"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
