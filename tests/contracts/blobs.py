"""What every blob store must do."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zeitwork.blobs import Blob, BlobStore
from zeitwork.errors import InvalidInput, NotFound

# Larger than one part or chunk of any driver, and no multiple of one.
LARGE = 17 * 1024**2 + 12_345
# The clocks of stores differ from ours, and some know whole seconds only.
SKEW = timedelta(seconds=30)


def now() -> datetime:
    return datetime.now(tz=UTC)


def file(directory: Path, content: bytes) -> Path:
    path = directory / f"source-{hashlib.sha256(content).hexdigest()[:8]}"
    path.write_bytes(content)
    return path


def blob_of(content: bytes) -> Blob:
    return Blob(hashlib.sha256(content).hexdigest(), len(content))


async def content_of(store: BlobStore, digest: str) -> bytes:
    return b"".join([chunk async for chunk in store.read(digest)])


async def every(store: BlobStore) -> set[Blob]:
    return {blob async for blob in store.every()}


class BlobContract:
    """Subclasses give a `store` fixture with an empty store that is started."""

    async def test_an_empty_store_has_nothing(self, store: BlobStore) -> None:
        assert await store.find("0" * 64) is None
        assert await every(store) == set()
        with pytest.raises(NotFound):
            await content_of(store, "0" * 64)
        await store.delete("0" * 64)
        await store.delete("0" * 64, unless_put_since=now())
        await store.tidy(before=now())

    @pytest.mark.parametrize("size", [0, 1, LARGE])
    async def test_a_blob_is_found_again_whatever_its_size(
        self, store: BlobStore, tmp_path: Path, size: int
    ) -> None:
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        blob = await store.put(file(tmp_path, content))
        assert blob == blob_of(content)
        assert await store.find(blob.digest) == blob
        assert await content_of(store, blob.digest) == content
        assert await every(store) == {blob}

    async def test_it_is_read_in_pieces(self, store: BlobStore, tmp_path: Path) -> None:
        blob = await store.put(file(tmp_path, bytes(LARGE)))
        sizes = [len(chunk) async for chunk in store.read(blob.digest)]
        assert sum(sizes) == LARGE
        assert max(sizes) <= 1024**2

    async def test_a_reader_may_stop_in_the_middle(self, store: BlobStore, tmp_path: Path) -> None:
        blob = await store.put(file(tmp_path, bytes(LARGE)))
        for _ in range(3):
            reading = store.read(blob.digest)
            assert await anext(reading)
            await reading.aclose()  # type: ignore[attr-defined]
        assert len(await content_of(store, blob.digest)) == LARGE

    async def test_putting_twice_and_at_once_leaves_one(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        source = file(tmp_path, bytes(300_000))
        blobs = {await store.put(source), *await asyncio.gather(*(store.put(source),) * 3)}
        assert blobs == await every(store) == {blob_of(bytes(300_000))}
        (blob,) = blobs
        assert await content_of(store, blob.digest) == bytes(300_000)

    async def test_what_is_deleted_is_gone_and_can_be_put_again(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        one, other = file(tmp_path, b"one"), file(tmp_path, b"other")
        blob, left = await store.put(one), await store.put(other)
        await store.delete(blob.digest)
        assert await store.find(blob.digest) is None
        assert await every(store) == {left}
        with pytest.raises(NotFound):
            await content_of(store, blob.digest)
        await store.put(one)
        assert await content_of(store, blob.digest) == b"one"

    async def test_what_was_put_since_a_moment_is_not_deleted(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        blob = await store.put(file(tmp_path, b"one"))
        await store.delete(blob.digest, unless_put_since=now() - SKEW)
        assert await content_of(store, blob.digest) == b"one"
        await store.delete(blob.digest, unless_put_since=now() + SKEW)
        assert await store.find(blob.digest) is None

    async def test_putting_what_is_stored_makes_it_new(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        """Else a deletion that judged its age could not see that it is needed again."""
        source = file(tmp_path, b"one")
        blob = await store.put(source)
        await asyncio.sleep(2.1)  # longer than a second, all that S3 tells apart
        moment = now() - timedelta(seconds=1)
        await store.put(source)
        await store.delete(blob.digest, unless_put_since=moment)
        assert await content_of(store, blob.digest) == b"one"

    async def test_what_is_stored_stays_when_puts_that_were_cut_short_are_tidied(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        blob = await store.put(file(tmp_path, bytes(LARGE)))
        await store.tidy(before=now() + SKEW)
        assert await every(store) == {blob}
        assert len(await content_of(store, blob.digest)) == LARGE

    @pytest.mark.parametrize("name", ["", "x", "../" + "0" * 61, "A" * 64, "0" * 63 + "*"])
    async def test_only_digests_are_names(self, store: BlobStore, name: str) -> None:
        for call in (store.find(name), store.delete(name), content_of(store, name)):
            with pytest.raises(InvalidInput):
                await call

    async def test_it_can_be_stopped_twice_and_started_again(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        blob = await store.put(file(tmp_path, b"one"))
        await store.stop()
        await store.stop()
        await store.start()
        await store.start()
        assert await store.ready() is None
        assert await store.find(blob.digest) == blob
