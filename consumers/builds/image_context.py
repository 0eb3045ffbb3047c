"""What an image build sees of a repository: a tar archive of its files, and nothing else."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from consumers.builds import dockerignore, threads, tree
from consumers.builds.dockerignore import Ignored
from consumers.builds.failures import SourceTooLarge
from consumers.builds.tree import MOST_PATH_BYTES

DOCKERFILE = "Dockerfile"
_MOST_BYTES = 2 * 1024**3
_MOST_RULES_BYTES = 1024 * 1024


def write(app: Path, target: Path, stop: Event) -> int:
    """Write the archive; the number of files in it. Blocking.

    Links stay links: the Engine follows them inside of the archive alone. Owners and times are
    zero, so that the Engine recognises what it has built before.

    Raises:
        SourceTooLarge: there is too much of it.
        BuildFailed: `.dockerignore` cannot be understood.
    """
    ignored = dockerignore.parse(_rules(app / dockerignore.NAME))
    sent = dockerignore.always_sent(DOCKERFILE)
    count = size = 0
    with tarfile.open(
        target, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape", dereference=False
    ) as archive:
        for name, entry in _entries(app, ignored):
            threads.check(stop)
            if name in ignored and name not in sent:
                continue
            member = tree.member(name, entry)
            count += member.isreg()
            size += member.size
            if size > _MOST_BYTES:
                raise SourceTooLarge(
                    f"The files for the image are more than {_MOST_BYTES >> 20} MiB. Leave out "
                    f"what it does not need, with a {dockerignore.NAME}."
                )
            if member.isreg():
                with Path(entry.path).open("rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    return count


def _rules(path: Path) -> str:
    if not path.is_file() or path.is_symlink():
        return ""
    with path.open("rb") as file:
        return file.read(_MOST_RULES_BYTES).decode("utf-8", "replace")


def _entries(app: Path, ignored: Ignored) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files, directories and links by name, each directory before what it holds."""
    pending = _below(app, "")
    while pending:
        name, entry = pending.pop()
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield name, entry
            hidden = name in ignored and not ignored.has_exceptions
            if not hidden and len(os.fsencode(name)) <= MOST_PATH_BYTES:
                pending += _below(entry.path, f"{name}/")
        elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            yield name, entry


def _below(folder: Path | str, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name), reverse=True)
    return [(f"{prefix}{entry.name}", entry) for entry in entries]
