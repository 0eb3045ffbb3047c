"""Deletes artifacts that nobody needs: marks their blobs, and after a grace sweeps them away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.queries.artifacts import (
    artifacts_forget,
    blob_condemned,
    blob_forget,
    blob_give_up,
    blobs_adopt,
    blobs_mark,
    blobs_unused,
)
from db.session import UnitOfWork
from zeitwork import clock, logs
from zeitwork.blobs import Blob, BlobStore
from zeitwork.errors import ZeitworkError

_log = logs.get(__name__)
_BATCH = 50
_LISTED = 500


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept though it does not run.

    Attributes:
        recent: so many artifacts that served an environment, the last ones.
        grace: for how long something has to be without use before it is deleted.
    """

    recent: int = 10
    grace: timedelta = timedelta(hours=24)


class ArtifactCollector:
    """Any number at once do no harm: each blob is deleted under the lock of its row."""

    def __init__(
        self,
        work: UnitOfWork,
        store: BlobStore,
        keeping: Keeping = Keeping(),
    ) -> None:
        self._work = work
        self._store = store
        self._keeping = keeping

    async def round(self) -> None:
        """Mark what is not needed any more, and delete what has not been for long enough."""
        async with self._work.transaction() as tx:
            await blobs_mark(tx.session, keep=self._keeping.recent)
        before = clock.now() - self._keeping.grace
        async with self._work.database.read() as session:
            unused = await blobs_unused(session, before=before, limit=_BATCH)
        for blob in unused:
            try:
                await self._sweep(blob.digest, before)
            except ZeitworkError as error:
                # Others are not to wait for it; the next round tries it again.
                _log.warning("blob not deleted", digest=blob.digest, code=error.code)
        async with self._work.transaction() as tx:
            await artifacts_forget(tx.session)

    async def look_through_store(self) -> None:
        """Note what the store holds and no row tells of; it goes after the grace like the rest."""
        async for blobs in _in_batches(self._store):
            async with self._work.transaction() as tx:
                found = await blobs_adopt(tx.session, blobs)
            if found:
                _log.info("blobs found that belong to nothing", count=found)
        await self._store.tidy(before=clock.now() - self._keeping.grace)

    async def _sweep(self, digest: str, before: datetime) -> None:
        # First nobody can come to rely on it any more, then it is deleted: a crash in between must
        # not leave an artifact that seems to be there.
        async with self._work.transaction() as tx:
            if not await blob_give_up(tx.session, digest, before=before, keep=self._keeping.recent):
                return
        async with self._work.transaction() as tx:
            if not await blob_condemned(tx.session, digest, before=before):
                return
            # The moment is for a process that was stopped here for so long that PostgreSQL took
            # the lock from it.
            await self._store.delete(digest, unless_put_since=before)
            await blob_forget(tx.session, digest)
        _log.info("blob deleted", digest=digest)


async def _in_batches(store: BlobStore) -> AsyncIterator[list[Blob]]:
    batch: list[Blob] = []
    async for blob in store.every():
        batch.append(blob)
        if len(batch) == _LISTED:
            yield batch
            batch = []
    if batch:
        yield batch
