"""Installed dependencies, kept from one build to the next of a project.

A layer is an archive named by what it was made from and by its own digest. It is never needed: one
that is missing or does not match its digest is made anew. Builds cannot write where layers lie, and
a layer is stored before anything of the repository has run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Event

import zstandard

from consumers.builds import directories, pack, threads
from consumers.builds.plan import Layer
from zeitwork import __version__, ids, logs
from zeitwork.errors import BuildFailed

if sys.version_info >= (3, 11, 4):
    import tarfile
else:
    from backports import tarfile  # type: ignore[no-redef]

_log = logs.get(__name__)
_FORMAT = "1"
_SUFFIX = ".tar.zst"
_KEPT = 3


class Layers:
    """The layers of one project, in a directory of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def restore(self, key: str, target: Path) -> bool:
        """Put the layer into the place of whatever is at `target`; False when there is none."""
        aside = target.with_name(f".zeitwork-{ids.token(9)}")
        for archive in self._archives(f"{key}-"):
            try:
                await threads.run(partial(_unpack, archive, aside))
            except (_Corrupt, OSError, tarfile.TarError, zstandard.ZstdError) as error:
                _log.warning("dependency layer not usable", layer=archive.name, error=str(error))
                await threads.run(partial(_drop, archive, aside))
                continue
            await threads.run(lambda _: _put(aside, target))
            return True
        return False

    async def keep(self, key: str, source: Path) -> None:
        """Store what is at `source`; a failure is logged, since the build can go on without."""
        unfinished = self._folder / f"unfinished-{ids.token(9)}"
        try:
            await pack.pack(source, unfinished, limits=pack.Limits(), judge_link=_any_link)
            await threads.run(lambda _: self._store(key, unfinished))
        except (BuildFailed, OSError) as error:
            _log.warning("dependency layer not kept", layer=key, error=str(error))
        finally:
            unfinished.unlink(missing_ok=True)

    def _store(self, key: str, unfinished: Path) -> None:
        unfinished.rename(self._folder / f"{key}-{_digest(unfinished)}{_SUFFIX}")
        for old in self._archives("")[_KEPT:]:
            _remove(old)

    def _archives(self, prefix: str) -> list[Path]:
        """Newest use first."""
        found = []
        for path in self._folder.glob(f"{prefix}*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # another build of the project prunes
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found, reverse=True)]


class _Corrupt(Exception):
    """The archive is not what it was."""


def key_of(layer: Layer, app: Path, env: Mapping[str, str]) -> str:
    """What the layer is made from, as a digest; blocking."""
    whole = hashlib.sha256()
    facts = [_FORMAT, __version__, platform.machine(), layer.folder]
    facts += [command.text for command in layer.commands]
    facts += [f"{name}={value}" for name, value in sorted({**layer.toolchain, **env}.items())]
    for name in sorted(layer.inputs):
        path = app / name
        facts += [name, _digest(path) if path.is_file() else "absent"]
    for fact in facts:
        whole.update(f"{len(fact)}:{fact}".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()[:32]


def _any_link(_link: Path, _folder: Path) -> None:
    """Where links may lead is judged when the application is packed, of which this is a part."""


def _unpack(archive: Path, target: Path, stop: Event) -> None:
    expected = archive.name.removesuffix(_SUFFIX).rpartition("-")[2]
    if _digest(archive) != expected:
        raise _Corrupt("it does not match its digest")
    os.utime(archive)  # the time of the last use
    target.mkdir()
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as members,
    ):
        for member in members:
            threads.check(stop)
            # We have packed it ourselves; links to the interpreter are among its links.
            members.extract(member, target, filter="tar")


def _put(aside: Path, target: Path) -> None:
    _remove(target)
    aside.rename(target)


def _drop(archive: Path, aside: Path, _: Event) -> None:
    _remove(aside)
    _remove(archive)


def _remove(path: Path) -> None:
    """Remove whatever is there; a link itself, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        directories.remove(path)
    else:
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
