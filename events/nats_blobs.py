"""Blobs in a bucket of JetStream's object store, named by digest.

The layout is that of every client (ADR-20), so that `nats object` reads it. Chunks are read one
by one: nats-py's own `get` holds the whole in memory.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import (
    Header,
    ObjectMeta,
    ObjectMetaOptions,
    ObjectStoreConfig,
    RawStreamMsg,
    StorageType,
)
from nats.js.errors import APIError, BucketNotFoundError, NotFoundError
from nats.js.object_store import ObjectStore

from events.nats_bus import NatsBus
from zeitwork.blobs import CHUNK_BYTES, Blob, check_digest, is_digest, measure, verified
from zeitwork.errors import BlobStoreUnavailable, NotFound

_WRONG_LAST_SEQUENCE = 10071  # nats-server 2.15, server/errors.json


@dataclass(frozen=True, slots=True)
class _Said:
    """What the bucket says of an object, where, and when it was put."""

    subject: str
    fields: dict[str, Any]
    sequence: int
    at: datetime


class NatsBlobStore:
    """A Service; it makes the bucket when there is none."""

    name = "blobs"

    def __init__(self, bus: NatsBus, bucket: str, *, replicas: int = 1) -> None:
        """`bus` is its own, or started before."""
        self._bus = bus
        self._bucket = bucket
        self._replicas = replicas
        self._found: ObjectStore | None = None

    async def start(self) -> None:
        if self._found is not None:
            return
        with _translated():
            try:
                self._found = await self._jetstream.object_store(self._bucket)
            except BucketNotFoundError:
                self._found = await self._jetstream.create_object_store(
                    self._bucket,
                    config=ObjectStoreConfig(
                        description="Zeitwork's artifacts",
                        storage=StorageType.FILE,
                        replicas=self._replicas,
                    ),
                )

    async def ready(self) -> str | None:
        return None if self._found is not None else "not started"

    async def stop(self) -> None:
        self._found = None

    async def put(self, source: Path) -> Blob:
        blob = await measure(source)
        with _translated():
            if await self._renew(blob):
                return blob
            meta = ObjectMeta(
                name=blob.digest, options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES)
            )
            with source.open("rb") as file:
                await self._objects.put(blob.digest, file, meta=meta)
        return blob

    async def find(self, digest: str) -> Blob | None:
        with _translated():
            said = await self._said(digest)
        return None if said is None else Blob(digest, said.fields["size"])

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        async for chunk in verified(self._chunks(digest), digest):
            yield chunk

    async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
        with _translated():
            said = await self._said(digest)
            if said is None or (unless_put_since is not None and said.at >= unless_put_since):
                return
            gone = {**said.fields, "deleted": True, "size": 0, "chunks": 0, "digest": ""}
            mark = await self._replace(said, gone)
            if mark is None:  # it was put again just now
                return
            await self._jetstream.purge_stream(self._stream, subject=self._chunk(said))
            # The mark itself would stay for ever.
            await self._jetstream.purge_stream(self._stream, seq=mark + 1, subject=said.subject)

    async def every(self) -> AsyncIterator[Blob]:
        with _translated():
            for subject in await self._subjects("M"):
                name = base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()
                said = await self._said(name) if is_digest(name) else None
                if said is not None:
                    yield Blob(name, said.fields["size"])

    async def tidy(self, *, before: datetime) -> None:
        """Chunks of objects that were never said to be complete."""
        with _translated():
            # First the chunks: of one that is completed meanwhile, the name is then found.
            chunks = await self._subjects("C")
            known = set()
            for subject in await self._subjects("M"):
                name = base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()
                said = await self._said(name) if is_digest(name) else None
                known |= {self._chunk(said)} if said is not None else set()
            for subject in chunks:
                last = await self._last(subject) if subject not in known else None
                if last is not None and last.time is not None and last.time < before:
                    await self._jetstream.purge_stream(self._stream, subject=subject)

    @property
    def _jetstream(self) -> JetStreamContext:
        return self._bus.jetstream

    @property
    def _objects(self) -> ObjectStore:
        if self._found is None:
            raise BlobStoreUnavailable("the blob store is not started")
        return self._found

    @property
    def _stream(self) -> str:
        return f"OBJ_{self._bucket}"

    def _meta(self, digest: str) -> str:
        check_digest(digest)
        name = base64.urlsafe_b64encode(digest.encode()).decode()
        return f"$O.{self._bucket}.M.{name}"

    async def _subjects(self, kind: str) -> list[str]:
        pattern = f"$O.{self._bucket}.{kind}.>"
        info = await self._jetstream.stream_info(self._stream, subjects_filter=pattern)
        return sorted(info.state.subjects or {})

    def _chunk(self, said: _Said) -> str:
        return f"$O.{self._bucket}.C.{said.fields['nuid']}"

    async def _last(self, subject: str) -> RawStreamMsg | None:
        try:
            return await self._jetstream.get_last_msg(self._stream, subject)
        except NotFoundError:
            return None

    async def _said(self, digest: str) -> _Said | None:
        subject = self._meta(digest)
        last = await self._last(subject)
        if last is None or last.time is None:
            return None
        fields = json.loads(last.data or b"{}")
        if fields.get("deleted"):
            return None
        return _Said(subject, fields, last.seq or 0, last.time)

    async def _replace(self, said: _Said, fields: dict[str, Any]) -> int | None:
        """Say something else of an object; None when somebody else has done so."""
        headers = {
            Header.ROLLUP.value: "sub",
            Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(said.sequence),
        }
        try:
            done = await self._jetstream.publish(
                said.subject, json.dumps(fields).encode(), headers=headers
            )
        except APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return None
            raise
        return done.seq

    async def _renew(self, blob: Blob) -> bool:
        """Make the time of a blob that is stored the present, in one step; False when it is not."""
        said = await self._said(blob.digest)
        if said is None or said.fields["size"] != blob.size:
            return False
        return await self._replace(said, said.fields) is not None

    async def _chunks(self, digest: str) -> AsyncIterator[bytes]:
        with _translated():
            said = await self._said(digest)
            if said is None:
                raise NotFound(f"artifact {digest} is not stored here")
            sequence = 1
            for _ in range(said.fields["chunks"]):
                # By the stream's leader: a replica may not have it yet.
                chunk = await self._jetstream.get_msg(
                    self._stream, seq=sequence, subject=self._chunk(said), next=True
                )
                sequence = (chunk.seq or 0) + 1
                yield chunk.data or b""


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what nats-py raises into errors of ours."""
    try:
        yield
    except APIError as error:
        raise BlobStoreUnavailable(f"NATS refused: {error.description}") from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise BlobStoreUnavailable(f"NATS did not answer: {reason}") from error
