"""An application's directory as a tar archive that depends on nothing but its content.

Entries are sorted, owners and times are zero, modes are one of two: the same files give the same
bytes, and so the same digest.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import zstandard

from consumers.builds import threads, tree
from consumers.builds.failures import ArtifactTooLarge
from consumers.builds.listing import shown
from consumers.builds.tree import MOST_PATH_BYTES
from zeitwork import sandbox
from zeitwork.errors import BuildFailed

JudgeLink = Callable[[Path, Path], None]
_LEVEL = 3
# Version control, and files whose only content is credentials of whoever builds.
_LEFT_OUT = frozenset(
    {".git", ".hg", ".svn", ".netrc", ".npmrc", ".pypirc", ".ssh", ".aws", ".gnupg"}
)
# Locks of an installer, and what a file manager leaves.
_NOISE = frozenset({".lock", ".DS_Store"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an artifact may be, unpacked."""

    entries: int = 500_000
    total_bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Packed:
    """What went into the archives; `size` in bytes, unpacked.

    Attributes:
        apart: whether there was anything to put apart.
    """

    files: int
    size: int
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Apart:
    """A folder of the application that goes into an archive of its own."""

    folder: str
    target: Path

    def holds(self, name: str) -> bool:
        return name == self.folder or name.startswith(f"{self.folder}/")


async def pack(
    app: Path,
    target: Path,
    *,
    limits: Limits,
    judge_link: JudgeLink | None = None,
    apart: Apart | None = None,
) -> Packed:
    """Write the archive of `app` to `target`; links are kept as links and never followed.

    Args:
        apart: unpacked over each other, both archives give what one would.
        judge_link: raises what is wrong with a link of the application; None refuses those that
            lead out of it, which no node takes, except to the interpreter.

    Raises:
        ArtifactTooLarge: there is too much of it.
        BuildFailed: a link is not taken, or the build took the right to read it from itself.
    """
    try:
        judge = judge_link or _refuse_leading_out
        return await threads.run(
            lambda stop: _pack(app, target, limits=limits, judge_link=judge, apart=apart, stop=stop)
        )
    except PermissionError as error:
        name = shown(Path(error.filename).relative_to(app))
        raise BuildFailed(f"{name} cannot be read; give its owner the right to.") from error


def _pack(
    app: Path,
    target: Path,
    *,
    limits: Limits,
    judge_link: JudgeLink,
    apart: Apart | None,
    stop: Event,
) -> Packed:
    app = app.resolve()
    entries = files = size = 0
    any_apart = False
    with contextlib.ExitStack() as stack:
        whole = stack.enter_context(_archive(target))
        other = stack.enter_context(_archive(apart.target)) if apart is not None else whole
        for name, entry in _entries(app):
            threads.check(stop)
            if entry.is_symlink():
                judge_link(Path(entry.path), app)
            entries += 1
            member = tree.member(name, entry)
            if member.isreg():
                files += 1
                size += member.size
            if size > limits.total_bytes or entries > limits.entries:
                raise ArtifactTooLarge(_too_much(limits))
            is_apart = apart is not None and apart.holds(name)
            any_apart |= is_apart
            _write(member, entry, other if is_apart else whole)
    return Packed(files, size, any_apart)


@contextlib.contextmanager
def _archive(target: Path) -> Iterator[tarfile.TarFile]:
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    with (
        target.open("wb") as raw,
        compressor.stream_writer(raw) as compressed,
        tarfile.open(
            fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        ) as archive,
    ):
        yield archive


def _write(member: tarfile.TarInfo, entry: os.DirEntry[str], archive: tarfile.TarFile) -> None:
    if not member.isreg():
        archive.addfile(member)
        return
    with Path(entry.path).open("rb") as file:
        archive.addfile(member, file)


def _entries(app: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files, directories and links, each directory before what it holds, by name in bytes."""
    pending = _below(app, "")
    while pending:
        name, entry = pending.pop()
        if len(os.fsencode(name)) > MOST_PATH_BYTES:
            raise BuildFailed(f"The built application holds a path that is too long: {name[:80]}…")
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield name, entry
            pending += _below(entry.path, f"{name}/")
        elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            yield name, entry


def _below(folder: Path | str, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
    """The entries of a folder, the last one first."""
    with os.scandir(folder) as found:
        entries = [entry for entry in found if entry.name not in _LEFT_OUT | _NOISE]
    entries.sort(key=lambda entry: os.fsencode(entry.name), reverse=True)
    return [(f"{prefix}{entry.name}", entry) for entry in entries]


def _refuse_leading_out(link: Path, app: Path) -> None:
    if tree.leads_out(link, app) and not sandbox.is_interpreter(str(link.readlink())):
        raise BuildFailed(tree.told(link, app))


def _too_much(limits: Limits) -> str:
    return (
        f"The built application is larger than {limits.total_bytes // 1024**2} MiB or holds more "
        f"than {limits.entries} files. Leave out what it does not need to run."
    )
