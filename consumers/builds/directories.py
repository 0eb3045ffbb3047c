"""Directories that are held while they are used; whoever finds one unheld may remove it.

The hold is an advisory lock on the directory itself. It ends with the process, so that what a
killed process left behind is told from what is in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zeitwork import ids
from zeitwork.errors import Conflict

_TRASH = ".trash-"


@contextmanager
def owned(path: Path) -> Iterator[Path]:
    """Create `path` when needed, and hold it alone.

    Raises:
        Conflict: somebody else holds it.
    """
    with _held(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield path


@contextmanager
def shared(path: Path) -> Iterator[Path]:
    """Create `path` when needed, and hold it with others; it is not removed meanwhile."""
    with _held(path, fcntl.LOCK_SH):
        yield path


def folders(parent: Path) -> list[Path]:
    """Directories directly below `parent`, held or not."""
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except FileNotFoundError:
        return []


def remove(path: Path) -> bool:
    """Remove `path` with everything below it, unless it is held; whether it was removed."""
    try:
        with owned(path):
            aside = _set_aside(path)
    except Conflict:
        return False
    _remove_tree(aside)
    return True


def remove_held(path: Path) -> None:
    """Remove a directory that the caller holds; its name is free at once."""
    _remove_tree(_set_aside(path))


def _set_aside(path: Path) -> Path:
    if path.name.startswith(_TRASH):
        return path
    # A name of its own: another process may still be removing what a killed one set aside.
    return path.rename(path.with_name(f"{_TRASH}{ids.token(8)}-{path.name}"))


@contextmanager
def _held(path: Path, mode: int) -> Iterator[None]:
    descriptor = _lock(path, mode)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path, mode: int) -> int:
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # it was removed just now
        try:
            fcntl.flock(descriptor, mode)
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict(f"{path.name} is in use by another process or build") from None
        if _is(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    """Whether the locked directory is still the one at `path`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_tree(path: Path) -> None:
    """Remove a tree of any depth: its folders are brought to the top and emptied there.

    Nothing recurses, and no path grows beyond what the kernel takes; a build may nest folders
    deeper than either allows, and take the rights from them.
    """
    with contextlib.suppress(FileNotFoundError):  # another process may be removing it, too
        path.chmod(0o700)
        while folders := _empty(path, lift_to=None):
            for folder in folders:
                _empty(folder, lift_to=path)
                folder.rmdir()
        path.rmdir()


def _empty(folder: Path, *, lift_to: Path | None) -> list[Path]:
    """Remove the files of `folder`, and move its folders away; those that stay."""
    staying = []
    with os.scandir(folder) as entries:
        for entry in [*entries]:
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink()
                continue
            below = Path(entry.path)
            below.chmod(0o700)
            if lift_to is None:
                staying.append(below)
            else:
                below.rename(lift_to / ids.token())
    return staying
