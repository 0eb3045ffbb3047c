"""Layers of artifacts: each is fetched and unpacked once, and they are laid over one another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from events.instances import LayerSpec
from node.artifacts import Artifacts
from node.control_plane import ControlPlane
from tests.support.agents import packed
from zeitwork.errors import ArtifactCorrupt

DEPENDENCIES = packed({".venv/lib/x.py": "x"}, links={".venv/current": "lib"})
NEW = packed({"main.py": "new", "folder/a": "a"})
OLD = packed({"main.py": "old"})


class Plane:
    """Hands out archives and counts how often."""

    def __init__(self, *archives: bytes) -> None:
        self.archives = {hashlib.sha256(each).hexdigest(): each for each in archives}
        self.asked: list[str] = []

    async def download(self, digest: str, target: Path, *, most_bytes: int) -> None:
        self.asked.append(digest)
        target.write_bytes(self.archives[digest])
        assert len(self.archives[digest]) <= most_bytes


def spec(archive: bytes) -> LayerSpec:
    return LayerSpec(digest=hashlib.sha256(archive).hexdigest(), size=len(archive))


def artifacts(root: Path, plane: Plane) -> Artifacts:
    made = Artifacts(root, cast("ControlPlane", plane))
    made.open()
    return made


def contents(app: Path) -> Mapping[str, str]:
    return {
        path.relative_to(app).as_posix(): path.read_text()
        for path in app.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


async def test_a_change_of_code_alone_fetches_code_alone(tmp_path: Path) -> None:
    plane = Plane(DEPENDENCIES, OLD, NEW)
    node = artifacts(tmp_path, plane)
    old = await node.fetch("1" * 64, [spec(DEPENDENCIES), spec(OLD)])
    new = await node.fetch("2" * 64, [spec(DEPENDENCIES), spec(NEW)])
    assert contents(old) == {".venv/lib/x.py": "x", "main.py": "old"}
    assert contents(new) == {".venv/lib/x.py": "x", "main.py": "new", "folder/a": "a"}
    assert (new / ".venv/current").readlink() == Path("lib")
    assert plane.asked == [spec(each).digest for each in (DEPENDENCIES, OLD, NEW)]
    assert (old / ".venv/lib/x.py").samefile(new / ".venv/lib/x.py")


async def test_what_is_there_is_not_fetched_again_by_the_next_agent(tmp_path: Path) -> None:
    plane = Plane(DEPENDENCIES, NEW)
    layers = [spec(DEPENDENCIES), spec(NEW)]
    first = await artifacts(tmp_path, plane).fetch("1" * 64, layers)
    (tmp_path / ".new-left").mkdir()
    second = await artifacts(tmp_path, Plane()).fetch("1" * 64, layers)
    assert first == second
    assert not (tmp_path / ".new-left").exists()


async def test_an_artifact_of_one_layer_is_that_layer(tmp_path: Path) -> None:
    node = artifacts(tmp_path, Plane(NEW))
    app = await node.fetch(spec(NEW).digest, [spec(NEW)])
    assert contents(app) == {"main.py": "new", "folder/a": "a"}
    assert [path.name for path in tmp_path.iterdir()] == [spec(NEW).digest]


async def test_layers_that_hold_the_same_file_are_refused_and_leave_nothing(
    tmp_path: Path,
) -> None:
    node = artifacts(tmp_path, Plane(OLD, NEW))
    with pytest.raises(ArtifactCorrupt, match=r"both hold .*main\.py"):
        await node.fetch("1" * 64, [spec(OLD), spec(NEW)])
    assert {path.name for path in tmp_path.iterdir()} == {spec(OLD).digest, spec(NEW).digest}


async def test_nothing_is_written_through_a_link_of_the_layer_below(tmp_path: Path) -> None:
    below = packed({"inside/a": "a"}, links={"leads": "inside"})
    above = packed({"leads/planted": "planted"})
    node = artifacts(tmp_path / "node", Plane(below, above))
    with pytest.raises(ArtifactCorrupt):
        await node.fetch("1" * 64, [spec(below), spec(above)])
    assert not (tmp_path / "node" / spec(below).digest / "inside" / "planted").exists()


async def test_what_is_not_in_use_is_kept_up_to_a_bound_the_last_used_longest(
    tmp_path: Path,
) -> None:
    codes = [packed({"main.py": str(number)}) for number in range(20)]
    node = artifacts(tmp_path, Plane(DEPENDENCIES, *codes))
    for number, code in enumerate(codes):
        await node.fetch(f"{number:064}", [spec(DEPENDENCIES), spec(code)])
    used = {f"{0:064}", spec(codes[0]).digest, spec(DEPENDENCIES).digest}
    await node.prune(used)
    left = {path.name for path in tmp_path.iterdir()}
    assert used <= left
    assert len(left - used) == 12
    assert f"{19:064}" in left
