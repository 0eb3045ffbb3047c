"""Stores what builds made, and notes it first: what is noted is not deleted under a build."""

from __future__ import annotations

from pathlib import Path

from db.queries.artifacts import blobs_note
from db.session import UnitOfWork
from zeitwork import blobs
from zeitwork.blobs import Blob, BlobStore


class NotedBlobs:
    """A store to put into."""

    def __init__(self, work: UnitOfWork, store: BlobStore) -> None:
        self._work = work
        self._store = store

    async def put(self, source: Path) -> Blob:
        """Store a copy of the file `source`, unless it is stored."""
        blob = await blobs.measure(source)
        # Committed before the store is asked: a deletion that is under way ends first, and one
        # that comes later finds that somebody needs the blob.
        async with self._work.transaction() as tx:
            await blobs_note(tx.session, [blob])
        return await self._store.put(source)
