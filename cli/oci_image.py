"""Writes an OCI image layout as one tar file: the layers of an artifact, and how it is run.

Nothing in it depends on when, where or by whom it is written, so that the same artifact gives the
same digests. Layers are not compressed, since compressors differ from version to version.
https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import zstandard

from zeitwork import sandbox
from zeitwork.errors import ArtifactCorrupt

if sys.version_info >= (3, 11, 4):
    import tarfile
else:  # the first 3.11 (Debian 12 has 3.11.2) has no extraction filters
    from backports import tarfile  # type: ignore[no-redef]

PORT = 8080
VARIABLES = "dev.zeitwork.variables"
_LAYOUT = "application/vnd.oci.image.{}.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ROOT = sandbox.APP.lstrip("/")


@dataclass(frozen=True, slots=True)
class Image:
    """How the layers are run.

    Attributes:
        command: run by `sh -c` in the application's directory; listens on $PORT.
        path: directories of the artifact to put before the system's PATH.
        variables: names of what has to be set to run it, without their values.
        reference: the name of the image in the layout.
        architecture: of the machine that built it, as `uname -m` says it.
    """

    command: str
    env: Mapping[str, str]
    path: Sequence[str]
    variables: Sequence[str]
    reference: str
    architecture: str


@dataclass(frozen=True, slots=True)
class _Content:
    """A blob of the layout."""

    media_type: str
    digest: str
    size: int

    @property
    def descriptor(self) -> dict[str, Any]:
        return {
            "mediaType": self.media_type,
            "digest": f"sha256:{self.digest}",
            "size": self.size,
        }


def write(target: Path, layers: Sequence[Path], image: Image) -> str:
    """Write the layout; the digest of its image. Blocking.

    Raises:
        ArtifactCorrupt: a layer is no archive.
    """
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".zeitwork-export-") as folder,
        tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as layout,
    ):
        _add_bytes(layout, "oci-layout", json_of({"imageLayoutVersion": "1.0.0"}))
        written = []
        for number, layer in enumerate(layers):
            unpacked = Path(folder) / str(number)
            content = _layer(layer, unpacked, folders=_parents(number))
            if content not in written:
                _add_file(layout, f"blobs/sha256/{content.digest}", unpacked)
            written.append(content)
        config = _add_json(layout, "config", _config(image, written))
        manifest = {
            "schemaVersion": 2,
            "mediaType": _LAYOUT.format("manifest"),
            "config": config.descriptor,
            "layers": [content.descriptor for content in written],
        }
        top = _add_json(layout, "manifest", manifest)
        named = {"org.opencontainers.image.ref.name": image.reference}
        index = {
            "schemaVersion": 2,
            "mediaType": _LAYOUT.format("index"),
            "manifests": [{**top.descriptor, "annotations": named}],
        }
        _add_bytes(layout, "index.json", json_of(index))
    return f"sha256:{top.digest}"


def json_of(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _config(image: Image, layers: Sequence[_Content]) -> dict[str, Any]:
    path = [f"{sandbox.APP}/{each}" for each in image.path]
    env = {**sandbox.environment(image.env, path=path), "PORT": str(PORT)}
    return {
        "architecture": _ARCHITECTURES.get(image.architecture, image.architecture),
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sh", "-c", image.command],
            "Env": [f"{name}={value}" for name, value in sorted(env.items())],
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Labels": {VARIABLES: ",".join(sorted(image.variables))},
            "WorkingDir": sandbox.APP,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each.digest}" for each in layers]},
    }


def _parents(number: int) -> Sequence[str]:
    """Directories above the application's, which the lowest layer brings."""
    return () if number else (_ROOT,)


def _layer(packed: Path, target: Path, *, folders: Sequence[str]) -> _Content:
    """Our archive as a layer: every name below the application's directory."""
    try:
        with (
            packed.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive,
            tarfile.open(target, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as layer,
        ):
            for name in folders:
                layer.addfile(_folder(name))
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                layer.addfile(_moved(member), content)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise ArtifactCorrupt(f"the artifact cannot be unpacked: {error}") from error
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _Content(_LAYER, digest, target.stat().st_size)


def _folder(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member


def _moved(member: tarfile.TarInfo) -> tarfile.TarInfo:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ArtifactCorrupt(f"the artifact holds a path that leaves it: {member.name[:80]!r}")
    moved = member.replace(name=f"{_ROOT}/{member.name}", deep=False)
    moved.pax_headers = {}  # the name's own among them
    return moved


def _add_json(layout: tarfile.TarFile, kind: str, document: Mapping[str, Any]) -> _Content:
    body = json_of(document)
    content = _Content(_LAYOUT.format(kind), hashlib.sha256(body).hexdigest(), len(body))
    _add_bytes(layout, f"blobs/sha256/{content.digest}", body)
    return content


def _add_bytes(layout: tarfile.TarFile, name: str, body: bytes) -> None:
    _add(layout, name, len(body), io.BytesIO(body))


def _add_file(layout: tarfile.TarFile, name: str, path: Path) -> None:
    with path.open("rb") as file:
        _add(layout, name, path.stat().st_size, file)


def _add(layout: tarfile.TarFile, name: str, size: int, file: BinaryIO) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    layout.addfile(member, file)
