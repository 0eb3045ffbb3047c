"""From a checkout to an application's directory: the root is inside, and no link leads out."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from threading import Event

from consumers.builds import threads
from consumers.builds.listing import shown
from zeitwork.errors import SourceUnavailable

# A path below an application. Linux takes 4096 bytes in all, the directories above included.
MOST_PATH_BYTES = 2048


def adopt(tree: Path, root_directory: str, stop: Event) -> Path:
    """The application's directory in a fresh checkout; removes `.git`. Blocking.

    Raises:
        SourceUnavailable: the root directory is not in the tree, or a link leads out of it.
    """
    shutil.rmtree(tree / ".git", ignore_errors=True)
    app = locate(tree.resolve(), root_directory)
    for entry in walk(app):
        threads.check(stop)
        if entry.is_symlink() and leads_out(link := Path(entry.path), app):
            raise SourceUnavailable(told(link, app))
    return app


def walk(top: Path, *, enter: Callable[[str], bool] = lambda _: True) -> Iterator[os.DirEntry[str]]:
    """What lies below `top`, in no order, links not followed; `enter` says which folders to enter.

    Folders whose paths are too long are not entered. (`os.walk` recurses in Python 3.11, and a
    tree may be deeper than the interpreter's stack.)
    """
    pending = [os.fspath(top)]
    limit = len(os.fsencode(top)) + MOST_PATH_BYTES
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                yield entry
                if (
                    entry.is_dir(follow_symlinks=False)
                    and len(os.fsencode(entry.path)) <= limit
                    and enter(entry.name)
                ):
                    pending.append(entry.path)


def locate(tree: Path, root_directory: str) -> Path:
    """The directory `root_directory` of a tree whose path holds no link.

    Raises:
        SourceUnavailable: there is none, or a link leads out of the tree.
    """
    asked = PurePosixPath(root_directory)
    if asked.is_absolute() or ".." in asked.parts or "\0" in root_directory:
        raise SourceUnavailable(
            f"The root directory {root_directory!r} leads out of the repository; give a path "
            "relative to its top."
        )
    # Unlike Path.resolve, realpath follows a link to itself without an error.
    app = Path(os.path.realpath(tree / asked))
    if not app.is_relative_to(tree):
        raise SourceUnavailable(f"The root directory {root_directory!r} is a link that leads out.")
    if not os.path.isdir(app):  # noqa: PTH112 - Path.is_dir raises on names that are too long
        raise SourceUnavailable(f"This commit has no directory {root_directory!r}.")
    return app


def leads_out(link: Path, app: Path) -> bool:
    """Whether a link below `app` (a path without links) leads out of it.

    It may lead through other links. An absolute one means something else in the place where the
    application runs.
    """
    return link.readlink().is_absolute() or not Path(os.path.realpath(link)).is_relative_to(app)


def told(link: Path, app: Path) -> str:
    """What is wrong with a link that leads out, and what to do."""
    return (
        f"{shown(link.relative_to(app))} is a link to {shown(link.readlink())[:200]!r}, outside of "
        "the application's directory. Replace it by a copy."
    )


def member(name: str, entry: os.DirEntry[str]) -> tarfile.TarInfo:
    """An entry of an archive that is the same whoever packs it and when: no owner, no time."""
    facts = entry.stat(follow_symlinks=False)
    member = tarfile.TarInfo(name)
    if stat.S_ISDIR(facts.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISLNK(facts.st_mode):
        member.type, member.mode = tarfile.SYMTYPE, 0o777
        member.linkname = str(Path(entry.path).readlink())
    else:
        member.mode = 0o755 if facts.st_mode & stat.S_IXUSR else 0o644
        member.size = facts.st_size
    return member
