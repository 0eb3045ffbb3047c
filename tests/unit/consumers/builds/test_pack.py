"""Artifacts: the same files give the same bytes, and nothing that is not a file gets in."""

from __future__ import annotations

import hashlib
import os
import socket
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import zstandard

from consumers.builds.failures import ArtifactTooLarge
from consumers.builds.pack import Apart, Limits, Packed, pack
from consumers.builds.tree import MOST_PATH_BYTES
from tests.support.builds import nested
from zeitwork import sandbox
from zeitwork.errors import BuildFailed

FILES = ("b.txt", "a.txt", "folder/z", "folder/a", "folder.txt", "é.html")


def fill(app: Path, names: Iterable[str]) -> None:
    for name in names:
        path = app / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (app / "link").symlink_to("folder/a")
    (app / "run").write_text("#!/bin/sh\n")
    (app / "run").chmod(0o700)


def members(archive: Path) -> dict[str, tarfile.TarInfo]:
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        return {member.name: member for member in tar}


async def digest(app: Path, archive: Path) -> str:
    await pack(app, archive, limits=Limits())
    return hashlib.sha256(archive.read_bytes()).hexdigest()


async def test_the_same_files_give_the_same_digest(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "elsewhere" / "other"
    fill(one, FILES)
    fill(other, reversed(FILES))
    for path in other.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
            path.chmod(path.stat().st_mode & 0o700)
    assert await digest(one, tmp_path / "1") == await digest(other, tmp_path / "2")


@pytest.mark.parametrize("change", ["content", "name", "mode", "link", "empty folder"])
async def test_any_difference_gives_another_digest(tmp_path: Path, change: str) -> None:
    app = tmp_path / "app"
    fill(app, FILES)
    before = await digest(app, tmp_path / "1")
    match change:
        case "content":
            (app / "a.txt").write_text("b.txt")
        case "name":
            (app / "a.txt").rename(app / "c.txt")
        case "mode":
            (app / "a.txt").chmod(0o755)
        case "link":
            (app / "link").unlink()
            (app / "link").symlink_to("folder/z")
        case _:
            (app / "new").mkdir()
    assert await digest(app, tmp_path / "2") != before


async def test_entries_are_ordered_and_bear_no_trace_of_the_builder(tmp_path: Path) -> None:
    app, archive = tmp_path / "app", tmp_path / "archive"
    fill(app, FILES)
    assert await pack(app, archive, limits=Limits()) == Packed(files=7, size=53)
    found = members(archive)
    assert [*found] == [
        "a.txt", "b.txt", "folder", "folder/a", "folder/z", "folder.txt", "link", "run", "é.html",
    ]  # fmt: skip
    for member in found.values():
        assert (member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 0)
    assert (found["a.txt"].mode, found["run"].mode) == (0o644, 0o755)
    assert found["link"].linkname == "folder/a"


async def test_links_are_never_followed(tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "below").mkdir(parents=True)
    (app / "folder").symlink_to("below")
    (app / "below" / "up").symlink_to("..")
    (app / "loop").symlink_to("loop")
    (app / "python").symlink_to(sandbox.python_toolchain() / "bin" / "python3.11")
    packed = await pack(app, tmp_path / "archive", limits=Limits())
    assert packed == Packed(files=0, size=0)
    found = members(tmp_path / "archive")
    assert [name for name, member in found.items() if member.issym()] == [
        "below/up", "folder", "loop", "python",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../secret", "below/../../secret", "up/secret", "/usr/bin/env"],
)
async def test_a_link_out_of_the_application_is_refused(tmp_path: Path, target: str) -> None:
    app = tmp_path / "app"
    (app / "below").mkdir(parents=True)
    (app / "link").symlink_to(target)
    if target.startswith("up"):
        (app / "up").symlink_to("..")
    with pytest.raises(BuildFailed, match="outside of the application's directory"):
        await pack(app, tmp_path / "archive", limits=Limits())


async def test_devices_pipes_and_sockets_are_left_out(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    os.mkfifo(app / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(app / "socket"))
        if os.geteuid() == 0:
            os.mknod(app / "null", 0o666 | 0o020000, os.makedev(1, 3))
        await pack(app, tmp_path / "archive", limits=Limits())
    assert members(tmp_path / "archive") == {}


async def test_credentials_of_the_builder_are_left_out(tmp_path: Path) -> None:
    app = tmp_path / "app"
    fill(app, [".npmrc", "sub/.netrc", ".ssh/id_ed25519", ".git/config", ".env.example"])
    await pack(app, tmp_path / "archive", limits=Limits())
    assert [*members(tmp_path / "archive")] == [".env.example", "link", "run", "sub"]


async def test_names_that_are_not_utf_8_survive(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    Path(os.fsdecode(os.fsencode(app) + b"/\xff")).write_text("x")
    await pack(app, tmp_path / "archive", limits=Limits())
    assert [os.fsencode(name) for name in members(tmp_path / "archive")] == [b"\xff"]


async def test_too_many_files_are_refused(tmp_path: Path) -> None:
    app = tmp_path / "app"
    fill(app, FILES)
    await pack(app, tmp_path / "archive", limits=Limits(entries=9))
    with pytest.raises(BuildFailed, match="more than 8 files"):
        await pack(app, tmp_path / "archive", limits=Limits(entries=8))


async def test_too_many_bytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    with (app / "huge").open("wb") as file:
        file.truncate(1024**4)  # a hole
    with pytest.raises(BuildFailed, match="larger than 2048 MiB"):
        await pack(app, tmp_path / "archive", limits=Limits())
    assert (tmp_path / "archive").stat().st_size < 1024


async def test_folders_nested_without_end_are_refused(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    with (
        nested(app / "top", MOST_PATH_BYTES // 4),
        pytest.raises(BuildFailed, match="path that is too long"),
    ):
        await pack(app, tmp_path / "archive", limits=Limits())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    app = tmp_path / "app"
    fill(app, FILES)
    (app / "a.txt").chmod(0)
    with pytest.raises(BuildFailed, match=r"a\.txt cannot be read"):
        await pack(app, tmp_path / "archive", limits=Limits())


async def test_a_folder_that_is_put_apart_is_in_its_own_archive_and_nowhere_else(
    tmp_path: Path,
) -> None:
    app = tmp_path / "app"
    fill(app, ["main.py", "lib/x", "lib/deep/y", "lib-not/z", "other/lib/z"])
    apart = Apart("lib", tmp_path / "apart")
    packed = await pack(app, tmp_path / "rest", limits=Limits(), apart=apart)
    assert packed.apart
    inside, rest = members(apart.target), members(tmp_path / "rest")
    assert set(inside) == {"lib", "lib/x", "lib/deep", "lib/deep/y"}
    assert {"main.py", "lib-not/z", "other/lib/z", "link", "run"} <= set(rest)
    whole = await pack(app, tmp_path / "whole", limits=Limits())
    assert set(members(tmp_path / "whole")) == set(inside) | set(rest)
    assert not set(inside) & set(rest)
    assert (whole.files, whole.size, whole.apart) == (packed.files, packed.size, False)


async def test_a_change_outside_leaves_what_is_put_apart_as_it_is(tmp_path: Path) -> None:
    app = tmp_path / "app"
    fill(app, ["main.py", "lib/x"])
    found = []
    for number in range(2):
        (app / "main.py").write_text(str(number))
        apart = Apart("lib", tmp_path / f"apart-{number}")
        await pack(app, tmp_path / f"rest-{number}", limits=Limits(), apart=apart)
        found.append((apart.target.read_bytes(), (tmp_path / f"rest-{number}").read_bytes()))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


async def test_nothing_is_apart_when_the_folder_is_not_there(tmp_path: Path) -> None:
    app = tmp_path / "app"
    fill(app, ["main.py"])
    apart = Apart("lib", tmp_path / "apart")
    assert not (await pack(app, tmp_path / "rest", limits=Limits(), apart=apart)).apart


async def test_limits_count_both_archives_together(tmp_path: Path) -> None:
    app = tmp_path / "app"
    fill(app, ["main.py", "lib/x"])
    limits = Limits(total_bytes=len("main.py") + len("#!/bin/sh\n"))
    with pytest.raises(ArtifactTooLarge):
        await pack(app, tmp_path / "rest", limits=limits, apart=Apart("lib", tmp_path / "apart"))
