"""Where blobs are stored: each form of the setting, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from zeitwork.blob_places import DiskPlace, NatsPlace, Place, S3Place, parse
from zeitwork.config import load
from zeitwork.errors import InvalidSettings


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("disk:///var/lib/blobs", DiskPlace(Path("/var/lib/blobs"))),
        ("disk:///with%20space", DiskPlace(Path("/with space"))),
        ("nats://artifacts", NatsPlace("artifacts")),
        ("s3://bucket", S3Place("bucket")),
        ("s3://bucket/a/b/", S3Place("bucket", "a/b/")),
        (
            "s3://bucket/a?endpoint=http://127.0.0.1:9000&region=eu-north-1",
            S3Place("bucket", "a/", "http://127.0.0.1:9000", "eu-north-1"),
        ),
    ],
)
def test_each_form_is_read(url: str, place: Place) -> None:
    assert parse(url) == place


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/var/lib/blobs", "must be disk:///PATH, s3://"),
        ("disk://relative/path", "must be disk:///PATH"),
        ("gs://bucket", "must be disk:///PATH"),
        ("s3://", "does not name a bucket"),
        ("s3://Bucket_", "does not name a bucket"),
        ("nats://a.b", "does not name a bucket"),
        ("s3://bucket?secret=x", "no option 'secret'"),
        ("s3://bucket?endpoint=minio:9000", "must be an http or https URL"),
        ("s3://key:hunter2@bucket", "does not name a bucket"),
    ],
)
def test_another_is_refused_with_what_would_do(url: str, said: str) -> None:
    with pytest.raises(InvalidSettings, match=said) as refused:
        parse(url)
    assert "hunter2" not in str(refused.value)


def test_half_of_a_pair_of_keys_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="belong together"):
        parse("s3://bucket", access_key="key")
    place = parse("s3://bucket", access_key="key", secret_key=SecretStr("hunter2"))
    assert isinstance(place, S3Place)
    assert place.secret_key == "hunter2"
    assert "hunter2" not in f"{place} {place!r}"


def test_a_process_does_not_start_with_one_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load(data_dir=tmp_path).blob_place == DiskPlace(tmp_path / "blobs")
    monkeypatch.setenv("ZEITWORK_BLOB_STORE", "s3:/bucket")
    with pytest.raises(InvalidSettings, match="does not name a bucket"):
        load()
