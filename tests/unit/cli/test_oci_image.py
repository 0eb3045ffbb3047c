"""Exported images, read back by the rules of the OCI's specification alone."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from cli.oci_image import Image, write
from zeitwork.errors import ArtifactCorrupt

MEDIA = "application/vnd.oci.image."
IMAGE = Image(
    command="exec serve --port $PORT",
    env={"B": "2", "A": "1"},
    path=[".venv/bin"],
    variables=["TOKEN", "DATABASE_URL"],
    reference="shop:3",
    architecture="x86_64",
)
LONG = "d" * 90 + "/" + "f" * 90


def archive(path: Path, files: dict[str, str], *, links: dict[str, str] | None = None) -> Path:
    """A layer as builds store it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    path.write_bytes(zstandard.compress(inner.getvalue()))
    return path


def layers(directory: Path) -> list[Path]:
    return [
        archive(directory / "0", {".venv/lib/x.py": "x"}, links={".venv/bin/python": "/usr/bin/p"}),
        archive(directory / "1", {"main.py": "hello", LONG: "long", "naïve.txt": "é"}),
    ]


class Layout:
    """An image layout: every rule of the specification that concerns it is checked on reading."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.entries = {
                member.name: (file.read() if (file := tar.extractfile(member)) else b"")
                for member in tar
            }
            assert len(self.entries) == len(tar.getnames())
        assert json.loads(self.entries["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
        self.index = json.loads(self.entries["index.json"])
        assert (self.index["schemaVersion"], self.index["mediaType"]) == (
            2,
            f"{MEDIA}index.v1+json",
        )
        (top,) = self.index["manifests"]
        self.reference = top["annotations"]["org.opencontainers.image.ref.name"]
        self.manifest = json.loads(self.blob(top, "manifest.v1+json"))
        assert self.manifest["schemaVersion"] == 2
        assert self.manifest["mediaType"] == top["mediaType"]
        self.config = json.loads(self.blob(self.manifest["config"], "config.v1+json"))
        self.layers = [self.blob(each, "layer.v1.tar") for each in self.manifest["layers"]]
        ids = self.config["rootfs"]["diff_ids"]
        assert self.config["rootfs"]["type"] == "layers"
        assert ids == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in self.layers]

    def blob(self, descriptor: dict[str, Any], kind: str) -> bytes:
        assert descriptor["mediaType"] == f"{MEDIA}{kind}"
        algorithm, _, digest = descriptor["digest"].partition(":")
        assert algorithm == "sha256"
        content = self.entries[f"blobs/sha256/{digest}"]
        assert hashlib.sha256(content).hexdigest() == digest
        assert len(content) == descriptor["size"]
        return content

    def files(self) -> dict[str, str]:
        """What a container would see, the layers laid over one another."""
        seen: dict[str, str] = {}
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isreg() else None
                    seen[member.name] = file.read().decode() if file else f"-> {member.linkname}"
                    assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
        return seen


def test_an_image_follows_the_specification_and_holds_both_layers(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    digest = write(target, layers(tmp_path), IMAGE)
    layout = Layout(target)
    assert layout.index["manifests"][0]["digest"] == digest
    assert layout.reference == "shop:3"
    assert layout.files() == {
        "app": "-> ",
        "app/.venv/lib/x.py": "x",
        "app/.venv/bin/python": "-> /usr/bin/p",
        "app/main.py": "hello",
        f"app/{LONG}": "long",
        "app/naïve.txt": "é",
    }
    assert set(layout.entries) == {
        "oci-layout",
        "index.json",
        *(f"blobs/sha256/{each['digest'][7:]}" for each in layout.manifest["layers"]),
        f"blobs/sha256/{layout.manifest['config']['digest'][7:]}",
        f"blobs/sha256/{digest[7:]}",
    }


def test_its_config_says_how_to_run_it_and_no_secret(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    write(target, layers(tmp_path), IMAGE)
    config = Layout(target).config
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    said = config["config"]
    assert said["Entrypoint"] == ["/bin/sh", "-c", "exec serve --port $PORT"]
    assert said["WorkingDir"] == "/app"
    assert said["ExposedPorts"] == {"8080/tcp": {}}
    env = dict(each.split("=", 1) for each in said["Env"])
    assert (env["A"], env["B"], env["PORT"]) == ("1", "2", "8080")
    assert env["PATH"].startswith("/app/.venv/bin:")
    assert not {"TOKEN", "DATABASE_URL"} & set(env)
    assert said["Labels"] == {"dev.zeitwork.variables": "DATABASE_URL,TOKEN"}


def test_the_same_artifact_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        digest = write(folder / "image.tar", layers(folder), IMAGE)
        found.append((digest, (folder / "image.tar").read_bytes()))
    assert found[0] == found[1]
    assert [path.name for path in (tmp_path / "one").iterdir() if path.name[0] == "."] == []


def test_a_layer_that_two_positions_share_is_written_once(tmp_path: Path) -> None:
    """Two empty ones, the first without the directory above, are not the same."""
    one = archive(tmp_path / "0", {"a": "a"})
    write(tmp_path / "image.tar", [one, one, one], IMAGE)
    layout = Layout(tmp_path / "image.tar")
    assert len(layout.layers) == 3
    assert len({each["digest"] for each in layout.manifest["layers"]}) == 2


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_path_that_leaves_the_application_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactCorrupt, match="leaves it"):
        write(tmp_path / "image.tar", [archive(tmp_path / "0", {name: "x"})], IMAGE)


def test_what_is_no_archive_is_said_to_be_corrupt(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"not an archive")
    with pytest.raises(ArtifactCorrupt):
        write(tmp_path / "image.tar", [tmp_path / "0"], IMAGE)
