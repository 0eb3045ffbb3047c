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
from zeitwork.service import Service

CHUNK_BYTES = 256 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = ".new-"


@dataclass(frozen=True, slots=True)
class Blob:
    """What the store knows of a blob: lower-case hex SHA-256 and length in bytes."""

    digest: str
    size: int


class BlobStore(Service, Protocol):
    """Puts are idempotent; a blob is either absent or complete.

    Raises, all of them:
        BlobStoreUnavailable, BlobStoreRefused: the store does not answer, or will not do it.
        InvalidInput: that is no digest.
    """

    async def put(self, source: Path) -> Blob:
        """Store a copy of the file `source`; one that is stored counts as put now."""

    async def find(self, digest: str) -> Blob | None:
        """The blob's facts, or None."""

    def read(self, digest: str) -> AsyncIterator[bytes]:
        """The bytes in chunks.

        Raises:
            NotFound: no such blob.
            ArtifactCorrupt: after the last chunk, where the bytes are not those of the digest.
        """

    async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
        """Remove; nothing happens when it is absent, or was put (again) since that moment."""

    def every(self) -> AsyncIterator[Blob]:
        """What is stored, in any order; what comes or goes meanwhile may be missed."""

    async def tidy(self, *, before: datetime) -> None:
        """Remove what puts that were cut short before that moment have left."""


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> None:
    """Let only digests into paths and keys.

    Raises:
        InvalidInput: it is none.
    """
    if not is_digest(text):
        raise InvalidInput(f"{text!r} is not a SHA-256 digest in lower-case hex")


async def verified(chunks: AsyncIterator[bytes], digest: str) -> AsyncIterator[bytes]:
    """The same chunks.

    Raises:
        ArtifactCorrupt: after the last one, where they are not those of the digest.
    """
    found = hashlib.sha256()
    async for chunk in chunks:
        found.update(chunk)
        yield chunk
    if found.hexdigest() != digest:
        raise ArtifactCorrupt(f"expected sha256 {digest}, got {found.hexdigest()}")


async def measure(source: Path) -> Blob:
    """What a file is as a blob."""
    return await asyncio.to_thread(_measure, source)


class DiskBlobStore:
    """Files below one directory, named by digest; written aside, fsynced, then renamed."""

    name = "blobs"

    def __init__(self, root: Path) -> None:
        self._root = root

    async def start(self) -> None:
        """Nothing to do: the directory is made by the first put."""

    async def ready(self) -> str | None:
        return None

    async def stop(self) -> None:
        """Nothing to do."""

    def path(self, digest: str) -> Path:
        check_digest(digest)
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
        async for chunk in verified(self._chunks(digest), digest):
            yield chunk

    async def _chunks(self, digest: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self.path(digest).open, "rb")
        except FileNotFoundError:
            raise NotFound(f"artifact {digest} is not stored here") from None
        with file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
        await asyncio.to_thread(_delete, self.path(digest), unless_put_since)

    async def every(self) -> AsyncIterator[Blob]:
        for folder in await asyncio.to_thread(sorted, self._root.glob("??")):
            for blob in await asyncio.to_thread(_below, folder):
                yield blob

    async def tidy(self, *, before: datetime) -> None:
        for path in await asyncio.to_thread(list, self._root.glob(f"{_UNFINISHED}*")):
            await asyncio.to_thread(_delete, path, before)

    def _put(self, source: Path) -> Blob:
        self._root.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._root, prefix=_UNFINISHED, delete=False) as aside:
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


def _delete(path: Path, unless_put_since: datetime | None) -> None:
    with contextlib.suppress(FileNotFoundError):
        if unless_put_since is None or path.stat().st_mtime < unless_put_since.timestamp():
            path.unlink()


def _below(folder: Path) -> list[Blob]:
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was deleted just now
            if is_digest(path.name):
                found.append(Blob(path.name, path.stat().st_size))
    return found


async def verify(path: Path, digest: str) -> None:
    """Compare a file with its digest.

    Raises:
        ArtifactCorrupt: they differ.
    """
    found = await measure(path)
    if found.digest != digest:
        raise ArtifactCorrupt(f"expected sha256 {digest}, got {found.digest}")


def _measure(path: Path) -> Blob:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Blob(digest, file.tell())
