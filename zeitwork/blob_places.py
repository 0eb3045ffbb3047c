"""Where blobs are stored, as the setting says it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr
from typing_extensions import override

from zeitwork.errors import InvalidSettings

_FORMS = "disk:///PATH, s3://BUCKET/PREFIX?endpoint=URL&region=NAME or nats://BUCKET"
# Names that each of the servers takes.
_S3_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NATS_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class DiskPlace:
    """A directory, which every process that builds or serves the API has to see."""

    root: Path

    @override
    def __str__(self) -> str:
        return f"disk at {self.root}"


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket of S3, or of a server that speaks its protocol.

    Attributes:
        prefix: of every key; empty, or with a slash at its end.
        endpoint: the server's URL; None for Amazon's.
        access_key: without one, the credentials of the environment or of the machine serve.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)

    @override
    def __str__(self) -> str:
        return f"S3 bucket {self.bucket}/{self.prefix} at {self.endpoint or 'Amazon'}"


@dataclass(frozen=True, slots=True)
class NatsPlace:
    """A bucket of JetStream's object store, on the platform's own NATS."""

    bucket: str

    @override
    def __str__(self) -> str:
        return f"NATS bucket {self.bucket}"


Place = DiskPlace | S3Place | NatsPlace


def parse(url: str, *, access_key: str = "", secret_key: SecretStr = SecretStr("")) -> Place:  # noqa: B008 - frozen
    """Read the setting.

    Raises:
        InvalidSettings: it says no place; the message says which forms there are.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "disk" if not parts.netloc and parts.path.startswith("/") and not parts.query:
            return DiskPlace(Path(unquote(parts.path)))
        case "nats" if not parts.path.strip("/") and not parts.query:
            return NatsPlace(_bucket(parts.netloc, _NATS_BUCKET))
        case "s3":
            return _s3(url, access_key, secret_key.get_secret_value())
        case _:
            # The text itself may hold a secret.
            raise InvalidSettings(f"ZEITWORK_BLOB_STORE must be {_FORMS}.")


def _s3(url: str, access_key: str, secret_key: str) -> S3Place:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(options) - {"endpoint", "region"}):
        raise InvalidSettings(
            f"ZEITWORK_BLOB_STORE has no option {unknown[0]!r}; there are endpoint and region. "
            "Keys go into ZEITWORK_BLOB_STORE_ACCESS_KEY and ZEITWORK_BLOB_STORE_SECRET_KEY."
        )
    endpoint = options.get("endpoint") or None
    if endpoint is not None and urlsplit(endpoint).scheme not in {"http", "https"}:
        raise InvalidSettings("The endpoint in ZEITWORK_BLOB_STORE must be an http or https URL.")
    if bool(access_key) != bool(secret_key):
        raise InvalidSettings(
            "ZEITWORK_BLOB_STORE_ACCESS_KEY and ZEITWORK_BLOB_STORE_SECRET_KEY belong together."
        )
    prefix = unquote(parts.path).strip("/")
    return S3Place(
        _bucket(parts.netloc, _S3_BUCKET),
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        region=options.get("region") or None,
        access_key=access_key or None,
        secret_key=secret_key or None,
    )


def _bucket(name: str, allowed: re.Pattern[str]) -> str:
    if not allowed.fullmatch(name):
        raise InvalidSettings(
            f"ZEITWORK_BLOB_STORE does not name a bucket; its forms are {_FORMS}."
        )
    return name
