"""Files that only their owner may read: secrets and state, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from zeitwork import ids
from zeitwork.errors import HostUnsupported

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


def directory(path: Path) -> Path:
    """Make `path` (and its parents) and close it to others.

    Raises:
        HostUnsupported: it cannot be made or belongs to somebody else.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        path.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise HostUnsupported(
            f"cannot use the directory {path}: {error.strerror}; choose another with --data"
        ) from error
    return path


def write(path: Path, text: str) -> None:
    """Replace the file atomically; after a crash it holds the old text or the new one."""
    directory(path.parent)
    # NamedTemporaryFile creates with mode 0600 whatever the umask.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".new-", delete=False) as aside:
        try:
            aside.write(text)
            aside.flush()
            os.fsync(aside.fileno())
            Path(aside.name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(aside.name).unlink()
            raise


def secret(path: Path) -> str:
    """The secret in the file, made on first use."""
    with contextlib.suppress(FileNotFoundError):
        kept = path.read_text().strip()
        if kept:
            path.chmod(FILE_MODE)
            return kept
    fresh = ids.token()
    write(path, fresh)
    return fresh
