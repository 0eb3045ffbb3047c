"""The blob store that the settings name."""

from __future__ import annotations

from typing import assert_never

from events.nats_blobs import NatsBlobStore
from events.nats_bus import NatsBus
from zeitwork.blob_places import DiskPlace, NatsPlace, S3Place
from zeitwork.blobs import BlobStore, DiskBlobStore
from zeitwork.config import Settings


def create(settings: Settings, bus: NatsBus) -> BlobStore:
    """A Service that is to be started after `bus`."""
    match settings.blob_place:
        case DiskPlace(root):
            return DiskBlobStore(root)
        case NatsPlace(bucket):
            return NatsBlobStore(bus, bucket, replicas=settings.nats_replicas)
        case S3Place() as place:
            # Its library takes a third of a second to load.
            from zeitwork.s3_blobs import S3BlobStore

            return S3BlobStore(place)
        case other:
            assert_never(other)
