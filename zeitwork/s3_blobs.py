"""Blobs in a bucket of S3, or of a server that speaks its protocol, named by digest."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from zeitwork.blob_places import S3Place
from zeitwork.blobs import CHUNK_BYTES, Blob, check_digest, is_digest, measure, verified
from zeitwork.errors import BlobStoreRefused, BlobStoreUnavailable, NotFound

# A part has 5 MiB at least, an object 10,000 parts: up to 78 GiB, one part in memory at a time.
PART_BYTES = 8 * 1024**2
_TIMEOUT_SECONDS = 20.0
_ATTEMPTS = 4
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_AWAY = frozenset({"500", "502", "503", "InternalError", "ServiceUnavailable", "SlowDown"})


class S3BlobStore:
    """A Service; large blobs are written in parts, and none is ever whole in memory."""

    name = "blobs"

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._stack = AsyncExitStack()
        self._made: Any = None

    async def start(self) -> None:
        """Connect.

        Raises:
            BlobStoreRefused: there is no such bucket, or it is not for these credentials.
            BlobStoreUnavailable: the server does not answer.
        """
        if self._made is not None:
            return
        place = self._place
        making = get_session().create_client(
            "s3",
            region_name=place.region or "us-east-1",
            endpoint_url=place.endpoint,
            aws_access_key_id=place.access_key,
            aws_secret_access_key=place.secret_key,
            config=AioConfig(
                connect_timeout=5,
                read_timeout=_TIMEOUT_SECONDS,
                retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                # Servers other than Amazon's know neither newer checksums nor names of hosts.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if place.endpoint else "auto"},
            ),
        )
        self._made = await self._stack.enter_async_context(making)
        try:
            with self._translated():
                await self._made.head_bucket(Bucket=place.bucket)
        except BaseException:
            await self.stop()
            raise

    async def ready(self) -> str | None:
        return None if self._made is not None else "not started"

    async def stop(self) -> None:
        self._made = None
        await self._stack.aclose()

    async def put(self, source: Path) -> Blob:
        blob = await measure(source)
        if await self._renew(blob):
            return blob
        with self._translated():
            if blob.size <= PART_BYTES:
                body = await asyncio.to_thread(source.read_bytes)
                await self._client.put_object(**self._at(blob.digest), Body=body, **_md5(body))
            else:
                await self._put_in_parts(blob.digest, source)
        return blob

    async def find(self, digest: str) -> Blob | None:
        head = await self._head(digest)
        return None if head is None else Blob(digest, head["ContentLength"])

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        async for chunk in verified(self._chunks(digest), digest):
            yield chunk

    async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
        if unless_put_since is not None:
            head = await self._head(digest)
            if head is None or head["LastModified"] >= unless_put_since:
                return
        with self._translated():
            await self._client.delete_object(**self._at(digest))

    async def every(self) -> AsyncIterator[Blob]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._place.bucket, Prefix=self._place.prefix
        )
        with self._translated():
            async for page in pages:
                for each in page.get("Contents", []):
                    name = each["Key"].removeprefix(self._place.prefix)
                    if is_digest(name):
                        yield Blob(name, each["Size"])

    async def tidy(self, *, before: datetime) -> None:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._place.bucket, Prefix=self._place.prefix
        )
        with self._translated():
            async for page in pages:
                for each in page.get("Uploads", []):
                    if each["Initiated"] < before:
                        await self._client.abort_multipart_upload(
                            Bucket=self._place.bucket, Key=each["Key"], UploadId=each["UploadId"]
                        )

    @property
    def _client(self) -> Any:
        if self._made is None:
            raise BlobStoreUnavailable("the blob store is not started")
        return self._made

    def _at(self, digest: str) -> dict[str, str]:
        check_digest(digest)
        return {"Bucket": self._place.bucket, "Key": f"{self._place.prefix}{digest}"}

    async def _head(self, digest: str) -> dict[str, Any] | None:
        with self._translated():
            try:
                head: dict[str, Any] = await self._client.head_object(**self._at(digest))
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
        return head

    async def _renew(self, blob: Blob) -> bool:
        """Make the time of a blob that is stored the present, in one step; False when it is not."""
        head = await self._head(blob.digest)
        if head is None or head["ContentLength"] != blob.size:
            return False
        here = self._at(blob.digest)
        with self._translated():
            try:
                await self._client.copy_object(**here, CopySource=here, MetadataDirective="REPLACE")
            except ClientError as error:
                if _code(error) in _MISSING:  # it was deleted just now
                    return False
                raise
        return True

    async def _put_in_parts(self, digest: str, source: Path) -> None:
        here = self._at(digest)
        upload = {
            **here,
            "UploadId": (await self._client.create_multipart_upload(**here))["UploadId"],
        }
        parts = []
        try:
            with source.open("rb") as file:
                async for number, body in _parts(file):
                    done = await self._client.upload_part(
                        **upload, PartNumber=number, Body=body, **_md5(body)
                    )
                    parts.append({"PartNumber": number, "ETag": done["ETag"]})
            await self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # Otherwise `tidy` does it later.
            await self._client.abort_multipart_upload(**upload)
            raise

    async def _chunks(self, digest: str) -> AsyncIterator[bytes]:
        with self._translated():
            try:
                answer = await self._client.get_object(**self._at(digest))
            except ClientError as error:
                if _code(error) in _MISSING:
                    raise NotFound(f"artifact {digest} is not stored here") from error
                raise
            async with answer["Body"] as body:
                while chunk := await body.read(CHUNK_BYTES):
                    yield chunk

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the library raises into errors of ours."""
        bucket = self._place.bucket
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _AWAY:
                raise BlobStoreUnavailable(f"the bucket {bucket!r} answered {code}") from error
            raise BlobStoreRefused(
                f"The bucket {bucket!r} refused with {code}: look at its name, its region and the "
                "rights of the credentials."
            ) from error
        except (BotoCoreError, HTTPClientError, OSError, TimeoutError) as error:
            raise BlobStoreUnavailable(
                f"the server of the bucket {bucket!r} does not answer ({type(error).__name__})"
            ) from error


async def _parts(file: BinaryIO) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    while body := await asyncio.to_thread(file.read, PART_BYTES):
        number += 1
        yield number, body


def _md5(body: bytes) -> dict[str, str]:
    """What every server compares with what it got."""
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {"ContentMD5": base64.b64encode(digest).decode()}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
