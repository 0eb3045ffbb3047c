"""An image as the Engine saves it → an OCI image layout, a folder that other tools read, too.

It also holds the `manifest.json` by which every Engine loads an image, so that a tar archive of the
folder can be given to one as it is.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import IO, Any

from consumers.builds import threads
from zeitwork.errors import BuildFailed

_CHUNK_BYTES = 1024 * 1024
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
# How layers may be compressed, by their first bytes.
_COMPRESSIONS = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}


@dataclass(frozen=True, slots=True)
class Image:
    """What was written; `command` is what the image runs by itself, [] when nothing."""

    digest: str
    layers: int
    command: list[str]


def write(saved: Path, target: Path, stop: Event) -> Image:
    """Write the layout into the folder `target`, which must not exist. Blocking.

    Raises:
        BuildFailed: the Engine saved something else than one image.
    """
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    try:
        with tarfile.open(saved, "r:") as archive:
            (facts,) = json.loads(_read(archive, "manifest.json"))
            config = _read(archive, facts["Config"])
            layers = []
            for name in facts["Layers"]:
                with _open(archive, name) as source:
                    layers.append(_layer(source, blobs, stop))
        run = json.loads(config).get("config") or {}
    except (tarfile.TarError, KeyError, ValueError, AttributeError) as error:
        raise BuildFailed(
            f"The Docker Engine saved no image that is understood: {error}"
        ) from error
    described = _blob(config, blobs, _CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": described,
        "layers": layers,
    }
    index = _blob(_json(manifest), blobs, _MANIFEST)
    _write(target, "oci-layout", {"imageLayoutVersion": "1.0.0"})
    _write(target, "index.json", {"schemaVersion": 2, "manifests": [index]})
    loadable = {"Config": _path(described), "RepoTags": [], "Layers": [*map(_path, layers)]}
    _write(target, "manifest.json", [loadable])
    command = [*(run.get("Entrypoint") or []), *(run.get("Cmd") or [])]
    return Image(index["digest"], len(layers), command)


def _layer(source: IO[bytes], blobs: Path, stop: Event) -> dict[str, Any]:
    unfinished = blobs / "unfinished"
    whole = hashlib.sha256()
    first = b""
    with unfinished.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            threads.check(stop)
            first = first or chunk[:2]
            whole.update(chunk)
            file.write(chunk)
        size = file.tell()
    digest = whole.hexdigest()
    unfinished.rename(blobs / digest)
    kind = _LAYER + _COMPRESSIONS.get(first, "")
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _blob(content: bytes, blobs: Path, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _path(described: Mapping[str, Any]) -> str:
    return f"blobs/{described['digest'].replace(':', '/')}"


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    with _open(archive, name) as file:
        return file.read()


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file of the archive; equal layers are links to the first."""
    found = archive.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def _write(target: Path, name: str, content: object) -> None:
    (target / name).write_bytes(_json(content))


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
