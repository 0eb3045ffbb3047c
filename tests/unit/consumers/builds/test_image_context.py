"""What an image build gets to see: the application's files, and nothing else."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest

from consumers.builds import image_context
from consumers.builds.failures import SourceTooLarge


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


def context(app: Path, files: Mapping[str, str]) -> dict[str, tarfile.TarInfo]:
    for name, text in files.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(text)
    target = app.parent / "context.tar"
    image_context.write(app, target, Event())
    with tarfile.open(target) as archive:
        return {member.name: member for member in archive}


def test_what_is_ignored_is_not_sent_but_what_the_engine_reads_is(app: Path) -> None:
    rules = "*\n!kept\nkept/not\n"
    found = context(
        app,
        {".dockerignore": rules, "Dockerfile": "", "kept/a": "", "kept/not/b": "", "c/d": ""},
    )
    assert found.keys() == {".dockerignore", "Dockerfile", "kept", "kept/a"}


def test_a_file_below_a_hidden_folder_can_be_asked_for(app: Path) -> None:
    assert "a/b" in context(app, {".dockerignore": "a\n!a/b\n", "a/b": "", "a/c": ""})


def test_links_stay_links_and_are_never_followed(app: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    (app / "out").symlink_to(tmp_path / "secret")
    (app / "folder").symlink_to(tmp_path)
    (app / ".dockerignore").symlink_to(tmp_path / "secret")
    found = context(app, {"a": ""})
    assert {name: member.linkname for name, member in found.items() if member.issym()} == {
        "out": str(tmp_path / "secret"),
        "folder": str(tmp_path),
        ".dockerignore": str(tmp_path / "secret"),
    }
    assert b"s3cret" not in (tmp_path / "context.tar").read_bytes()


def test_the_same_files_give_the_same_bytes(app: Path) -> None:
    context(app, {"a": "1", "b/c": "2"})
    first = (app.parent / "context.tar").read_bytes()
    context(app, {"b/c": "2", "a": "1"})
    assert (app.parent / "context.tar").read_bytes() == first


def test_too_much_is_refused_before_it_is_read(app: Path) -> None:
    with (app / "huge").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(SourceTooLarge, match=r"Leave out .* \.dockerignore"):
        context(app, {})
