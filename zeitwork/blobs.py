"""A content-addressed store: bytes in, SHA-256 digest out. Drivers share one conformance suite."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from zeitwork.errors import ArtifactCorrupt, InvalidInput, NotFound

CHUNK_BYTES = 256 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """What the store knows of a blob: lower-case hex SHA-256 and length in bytes."""

    digest: str
    size: int


class BlobStore(Protocol):
    """Puts are idempotent; a blob is either absent or complete."""

    async def put(self, source: Path) -> Blob:
        """Store a copy of the file `source`."""

    async def find(self, digest: str) -> Blob | None:
        """The blob's facts, or None."""

    def read(self, digest: str) -> AsyncIterator[bytes]:
        """The bytes in chunks.

        Raises:
            NotFound: no such blob.
        """

    async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
        """Remove; nothing happens when it is absent, or was put (again) since that moment."""


class DiskBlobStore:
    """Files below one directory, named by digest; written aside, fsynced, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"{digest!r} is not a SHA-256 digest in lower-case hex")
        return self._root / digest[:2] / digest

    async def put(self, source: Path) -> Blob:
        return await asyncio.to_thread(self._put, source)

    async def find(self, digest: str) -> Blob | None:
        try:
            size = (await asyncio.to_thread(self.path(digest).stat)).st_size
        except FileNotFoundError:
            return None
        return Blob(digest, size)

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self.path(digest).open, "rb")
        except FileNotFoundError:
            raise NotFound(f"artifact {digest} is not stored here") from None
        with file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
        await asyncio.to_thread(self._delete, self.path(digest), unless_put_since)

    def _delete(self, path: Path, unless_put_since: datetime | None) -> None:
        with contextlib.suppress(FileNotFoundError):
            if unless_put_since is None or path.stat().st_mtime < unless_put_since.timestamp():
                path.unlink()

    def _put(self, source: Path) -> Blob:
        self._root.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._root, prefix=".new-", delete=False) as aside:
            try:
                with source.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        digest.update(chunk)
                        size += len(chunk)
                        aside.write(chunk)
                aside.flush()
                os.fsync(aside.fileno())
                target = self.path(digest.hexdigest())
                target.parent.mkdir(exist_ok=True)
                Path(aside.name).replace(target)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    Path(aside.name).unlink()
                raise
        return Blob(digest.hexdigest(), size)


async def verify(path: Path, digest: str) -> None:
    """Compare a file with its digest.

    Raises:
        ArtifactCorrupt: they differ.
    """
    found = await asyncio.to_thread(_sha256, path)
    if found != digest:
        raise ArtifactCorrupt(f"expected sha256 {digest}, got {found}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
