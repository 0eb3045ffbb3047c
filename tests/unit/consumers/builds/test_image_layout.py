"""An image as an Engine saves it becomes an OCI image layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from consumers.builds import image_layout
from consumers.builds.threads import Stopped
from zeitwork.errors import BuildFailed

CONFIG = {"os": "linux", "config": {"Entrypoint": ["serve"], "Cmd": ["--fast"]}}


def saved(tmp_path: Path, files: Mapping[str, bytes], *, links: Mapping[str, str] = {}) -> Path:
    path = tmp_path / "saved.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return path


def image(*layers: str, config: Any = CONFIG) -> dict[str, bytes]:
    listed = [{"Config": "c.json", "RepoTags": ["a:b"], "Layers": [*layers]}]
    return {"manifest.json": json.dumps(listed).encode(), "c.json": json.dumps(config).encode()}


def test_every_blob_is_named_by_its_digest_and_listed(tmp_path: Path) -> None:
    files = {**image("1/layer.tar", "2/layer.tar"), "1/layer.tar": b"one"}
    files["2/layer.tar"] = gzip.compress(b"two")
    target = tmp_path / "layout"
    written = image_layout.write(saved(tmp_path, files), target, Event())
    assert (written.layers, written.command) == (2, ["serve", "--fast"])
    blobs = {path.name: path.read_bytes() for path in (target / "blobs" / "sha256").iterdir()}
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in blobs.items())
    (index,) = json.loads((target / "index.json").read_text())["manifests"]
    assert index["digest"] == written.digest
    manifest = json.loads(blobs[written.digest.removeprefix("sha256:")])
    assert [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]] == [
        "tar",
        "tar+gzip",
    ]
    for described in (index, manifest["config"], *manifest["layers"]):
        assert len(blobs[described["digest"].removeprefix("sha256:")]) == described["size"]
    assert json.loads((target / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_equal_layers_may_be_links_to_each_other(tmp_path: Path) -> None:
    files = {**image("1/layer.tar", "2/layer.tar"), "1/layer.tar": b"one"}
    path = saved(tmp_path, files, links={"2/layer.tar": "../1/layer.tar"})
    assert image_layout.write(path, tmp_path / "layout", Event()).layers == 2


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"manifest.json": b"[]"},
        {"manifest.json": b"{"},
        image("missing.tar"),
        image(config=[]),
    ],
)
def test_anything_else_is_a_failed_build(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    with pytest.raises(BuildFailed, match="no image that is understood"):
        image_layout.write(saved(tmp_path, files), tmp_path / "layout", Event())


def test_a_link_out_of_the_archive_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    path = saved(tmp_path, image("1/layer.tar"), links={"1/layer.tar": str(tmp_path / "secret")})
    with pytest.raises(BuildFailed, match="no image that is understood"):
        image_layout.write(path, tmp_path / "layout", Event())


def test_it_can_be_stopped(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    files = {**image("1/layer.tar"), "1/layer.tar": b"one"}
    with pytest.raises(Stopped):
        image_layout.write(saved(tmp_path, files), tmp_path / "layout", stop)
