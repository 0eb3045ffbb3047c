"""The blob stores against their contract, each on what it is made for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from events.nats_blobs import NatsBlobStore
from events.nats_bus import NatsBus
from tests.contracts.blobs import LARGE, SKEW, BlobContract, content_of, file, now
from tests.support.servers import free_port
from zeitwork import ids
from zeitwork.blob_places import S3Place
from zeitwork.blobs import BlobStore, DiskBlobStore
from zeitwork.errors import ArtifactCorrupt, BlobStoreRefused, BlobStoreUnavailable
from zeitwork.s3_blobs import S3BlobStore


class TestDiskBlobStore(BlobContract):
    """On a file system."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return DiskBlobStore(tmp_path / "blobs")

    async def test_what_rotted_is_said_to_be_corrupt(self, tmp_path: Path) -> None:
        store = DiskBlobStore(tmp_path / "blobs")
        blob = await store.put(file(tmp_path, b"content"))
        store.path(blob.digest).write_bytes(b"another")
        with pytest.raises(ArtifactCorrupt):
            await content_of(store, blob.digest)

    async def test_files_of_a_put_that_was_killed_go_once_they_are_old(
        self, tmp_path: Path
    ) -> None:
        store = DiskBlobStore(tmp_path / "blobs")
        blob = await store.put(file(tmp_path, b"content"))
        left = tmp_path / "blobs" / ".new-left"
        left.write_bytes(b"half")
        await store.tidy(before=now() - SKEW)
        assert left.exists()
        await store.tidy(before=now() + SKEW)
        assert not left.exists()
        assert await content_of(store, blob.digest) == b"content"


class TestS3BlobStore(BlobContract):
    """On moto's server."""

    @pytest.fixture
    async def store(self, s3_place: S3Place) -> AsyncIterator[S3BlobStore]:
        store = S3BlobStore(s3_place)
        await store.start()
        yield store
        await store.stop()

    async def test_what_was_changed_in_the_bucket_is_said_to_be_corrupt(
        self, store: S3BlobStore, s3_place: S3Place, tmp_path: Path
    ) -> None:
        blob = await store.put(file(tmp_path, b"content"))
        key = f"{s3_place.prefix}{blob.digest}"
        await store._client.put_object(Bucket=s3_place.bucket, Key=key, Body=b"another")
        with pytest.raises(ArtifactCorrupt):
            await content_of(store, blob.digest)

    async def test_what_else_lies_in_the_bucket_is_left_alone(
        self, store: S3BlobStore, s3_place: S3Place
    ) -> None:
        for key in ("other/" + "0" * 64, "builds/readme", "0" * 64):
            await store._client.put_object(Bucket=s3_place.bucket, Key=key, Body=b"x")
        assert [blob async for blob in store.every()] == []

    async def test_parts_of_a_put_that_was_killed_go_once_they_are_old(
        self, store: S3BlobStore, s3_place: S3Place
    ) -> None:
        here = {"Bucket": s3_place.bucket, "Key": f"{s3_place.prefix}{'0' * 64}"}
        await store._client.create_multipart_upload(**here)
        # moto's server says of each that it began in 2010.
        await store.tidy(before=datetime(2010, 1, 1, tzinfo=UTC))
        assert len(await _uploads(store, s3_place)) == 1
        await store.tidy(before=now())
        assert await _uploads(store, s3_place) == []

    async def test_a_put_that_fails_half_way_leaves_no_parts(
        self, store: S3BlobStore, s3_place: S3Place, tmp_path: Path
    ) -> None:
        original = store._client.complete_multipart_upload

        async def fail(**_: object) -> None:
            raise OSError("cut")

        store._client.complete_multipart_upload = fail
        with pytest.raises(BlobStoreUnavailable):
            await store.put(file(tmp_path, bytes(LARGE)))
        store._client.complete_multipart_upload = original
        assert await _uploads(store, s3_place) == []
        assert [blob async for blob in store.every()] == []

    async def test_a_bucket_that_is_not_there_is_refused_at_the_start(
        self, s3_place: S3Place
    ) -> None:
        store = S3BlobStore(replace(s3_place, bucket="nowhere-at-all"))
        with pytest.raises(BlobStoreRefused, match="nowhere-at-all"):
            await store.start()
        assert await store.ready() is not None

    async def test_a_server_that_is_away_says_so(self, s3_place: S3Place) -> None:
        store = S3BlobStore(replace(s3_place, endpoint=f"http://127.0.0.1:{free_port()}"))
        with pytest.raises(BlobStoreUnavailable):
            await store.start()


class TestNatsBlobStore(BlobContract):
    """On a real NATS server's object store."""

    @pytest.fixture
    async def bus(self, nats_url: str) -> AsyncIterator[NatsBus]:
        bus = NatsBus(SecretStr(nats_url), name="blobs")
        await bus.start()
        yield bus
        await bus.stop()

    @pytest.fixture
    async def store(self, bus: NatsBus) -> AsyncIterator[NatsBlobStore]:
        store = NatsBlobStore(bus, f"t-{ids.token(9)}")
        await store.start()
        yield store
        await store.stop()
        await bus.jetstream.delete_object_store(store._bucket)

    async def test_what_was_changed_in_the_bucket_is_said_to_be_corrupt(
        self, store: NatsBlobStore, tmp_path: Path
    ) -> None:
        blob = await store.put(file(tmp_path, b"content"))
        await store._objects.put(blob.digest, b"another")
        with pytest.raises(ArtifactCorrupt):
            await content_of(store, blob.digest)

    async def test_a_deleted_blob_leaves_nothing_in_the_stream(
        self, store: NatsBlobStore, bus: NatsBus, tmp_path: Path
    ) -> None:
        blob = await store.put(file(tmp_path, bytes(LARGE)))
        await store.delete(blob.digest)
        assert (await bus.jetstream.stream_info(store._stream)).state.messages == 0

    async def test_chunks_of_a_put_that_was_killed_go_once_they_are_old(
        self, store: NatsBlobStore, bus: NatsBus
    ) -> None:
        await bus.jetstream.publish(f"$O.{store._bucket}.C.half", b"half")
        await store.tidy(before=now() - SKEW)
        assert (await bus.jetstream.stream_info(store._stream)).state.messages == 1
        await store.tidy(before=now() + SKEW)
        assert (await bus.jetstream.stream_info(store._stream)).state.messages == 0

    async def test_a_deletion_that_comes_behind_a_renewal_deletes_nothing(
        self, store: NatsBlobStore, tmp_path: Path
    ) -> None:
        """It had looked before."""
        source = file(tmp_path, b"content")
        blob = await store.put(source)
        looked = await store._said(blob.digest)
        assert looked is not None
        await store.put(source)
        assert await store._replace(looked, {**looked.fields, "deleted": True}) is None
        assert await content_of(store, blob.digest) == b"content"


async def _uploads(store: S3BlobStore, place: S3Place) -> list[object]:
    found = await store._client.list_multipart_uploads(Bucket=place.bucket)
    return list(found.get("Uploads", []))
