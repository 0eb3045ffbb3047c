"""Artifacts on this machine: fetched once, verified, unpacked, and kept while they are of use."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import zstandard

from events.instances import LayerSpec
from node.control_plane import ControlPlane
from zeitwork import blobs, sandbox
from zeitwork.errors import ArtifactCorrupt, HostUnsupported
from zeitwork.retry import quick

if sys.version_info >= (3, 11, 4):
    import tarfile
else:  # the first 3.11 (Debian 12 has 3.11.2) has no extraction filters
    from backports import tarfile  # type: ignore[no-redef]

_KEPT_UNUSED = 12  # directories; an artifact has one or three
_UNFINISHED = ".new-"


class Artifacts:
    """Directories named by digest below `root`; one is complete or absent."""

    def __init__(self, root: Path, control_plane: ControlPlane) -> None:
        self.root = root
        self._control_plane = control_plane
        self._fetching: dict[str, asyncio.Lock] = {}

    def open(self) -> None:
        """Make the directory, and remove what an agent that was killed left unfinished."""
        self.root.mkdir(parents=True, exist_ok=True)
        for path in self.root.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)

    async def fetch(self, digest: str, layers: Sequence[LayerSpec]) -> Path:
        """The unpacked artifact; callers at the same time share one download of each layer.

        Raises:
            ArtifactCorrupt: three downloads in a row did not match the digest.
            NotFound, Unavailable: it could not be downloaded.
            HostUnsupported: this machine cannot hold it.
        """
        if len(layers) == 1:
            return await self._layer(layers[0])
        async with self._lock(digest):
            target = self.root / digest
            if not target.is_dir():
                below = [await self._layer(layer) for layer in layers]
                await self._assemble(below, target)
            target.touch()
            return target

    async def prune(self, in_use: Collection[str]) -> None:
        """Remove what is not in use, except the last few that were."""
        self._fetching = {
            digest: lock
            for digest, lock in self._fetching.items()
            if digest in in_use or lock.locked()
        }
        await asyncio.to_thread(self._prune, frozenset(in_use))

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._fetching.setdefault(digest, asyncio.Lock())

    async def _layer(self, layer: LayerSpec) -> Path:
        async with self._lock(layer.digest):
            target = self.root / layer.digest
            if not target.is_dir():
                await quick()(self._download, layer.digest, layer.size, target)
            target.touch()
            return target

    async def _assemble(self, layers: Sequence[Path], target: Path) -> None:
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.root))
        try:
            await asyncio.to_thread(_lay, layers, aside / "whole")
            (aside / "whole").rename(target)
        finally:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)

    async def _download(self, digest: str, size: int, target: Path) -> None:
        # Of this call's own: the thread that unpacks outlives a cancellation.
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.root))
        try:
            packed = aside / "packed"
            await self._control_plane.download(digest, packed, most_bytes=size)
            await blobs.verify(packed, digest)
            await asyncio.to_thread(_unpack, packed, aside / "unpacked")
            (aside / "unpacked").rename(target)
        finally:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)

    def _prune(self, in_use: frozenset[str]) -> None:
        unused = [
            path
            for path in self.root.iterdir()
            if not path.name.startswith(_UNFINISHED) and path.name not in in_use
        ]
        unused.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in unused[_KEPT_UNUSED:]:
            # Renamed first: a removal that is cut short must not leave half of an artifact.
            aside = path.rename(self.root / f"{_UNFINISHED}{path.name}")
            shutil.rmtree(aside, ignore_errors=True)


def _lay(layers: Sequence[Path], target: Path) -> None:
    """Lay directories over one another; their files are shared, as nobody writes to them."""
    try:
        for layer in layers:
            _link(layer, target)
    except FileExistsError as error:
        raise ArtifactCorrupt(
            f"layers of the artifact both hold {error.filename2 or error.filename}"
        ) from error
    except OSError as error:
        raise HostUnsupported(f"cannot lay an artifact out here: {error.strerror}") from error


def _link(source: Path, target: Path) -> None:
    if not target.is_dir() or target.is_symlink():
        target.mkdir()  # never through a link of another layer
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _link(Path(entry.path), target / entry.name)
            else:
                os.link(entry.path, target / entry.name, follow_symlinks=False)


def _unpack(packed: Path, target: Path) -> None:
    """Unpack without links and paths that leave the directory, except to the interpreter."""
    try:
        target.mkdir()
        with (
            packed.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            archive.extractall(target, filter=_checked)  # noqa: S202 - `_checked` is the check
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise ArtifactCorrupt(f"the artifact cannot be unpacked: {error}") from error
    except OSError as error:
        raise HostUnsupported(f"cannot unpack an artifact here: {error.strerror}") from error


def _checked(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo | None:
    """What the `data` filter lets pass, and links to the interpreter that every instance sees."""
    if not member.issym() or not sandbox.is_interpreter(member.linkname):
        return tarfile.data_filter(member, target)
    # Its own name leads nowhere else: the filter looks at the member's place alone.
    alone = member.replace(linkname=member.name.rpartition("/")[2], deep=False)
    checked = tarfile.data_filter(alone, target)
    return checked.replace(linkname=member.linkname, deep=False)
