"""Artifacts on this machine: fetched once, verified, unpacked, and kept while they are of use."""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from collections.abc import Collection
from pathlib import Path

import zstandard

from node.control_plane import ControlPlane
from zeitwork import blobs
from zeitwork.errors import ArtifactCorrupt
from zeitwork.retry import quick

_KEPT_UNUSED = 5


class Artifacts:
    """Directories named by digest below `root`; one is complete or absent."""

    def __init__(self, root: Path, control_plane: ControlPlane) -> None:
        self.root = root
        self._control_plane = control_plane
        self._fetching: dict[str, asyncio.Lock] = {}

    async def fetch(self, digest: str, size: int) -> Path:
        """The unpacked artifact; callers at the same time share one download.

        Raises:
            ArtifactCorrupt: three downloads in a row did not match the digest.
            NotFound, Unavailable: it could not be downloaded.
        """
        async with self._fetching.setdefault(digest, asyncio.Lock()):
            target = self.root / digest
            if not target.is_dir():
                await quick()(self._download, digest, size, target)
            target.touch()
            return target

    async def prune(self, in_use: Collection[str]) -> None:
        """Remove what is not in use, except the last five that were."""
        await asyncio.to_thread(self._prune, frozenset(in_use))

    async def _download(self, digest: str, size: int, target: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        packed = self.root / f"{digest}.tar.zst"
        aside = self.root / f"{digest}.new"
        try:
            await self._control_plane.download(digest, packed, most_bytes=size)
            await blobs.verify(packed, digest)
            await asyncio.to_thread(_unpack, packed, aside)
            aside.replace(target)
        finally:
            packed.unlink(missing_ok=True)
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)

    def _prune(self, in_use: frozenset[str]) -> None:
        if not self.root.is_dir():
            return
        unused = [path for path in self.root.iterdir() if path.is_dir() and path.name not in in_use]
        unused.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in unused[_KEPT_UNUSED:]:
            shutil.rmtree(path, ignore_errors=True)


def _unpack(packed: Path, target: Path) -> None:
    """Unpack with the `data` filter, which refuses links and paths that leave the directory."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        with (
            packed.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            archive.extractall(target, filter="data")
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise ArtifactCorrupt(f"{packed.name} cannot be unpacked: {error}") from error
