from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import private_files
from zeitwork.errors import HostUnsupported


@pytest.fixture(autouse=True)
def _careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_written_files_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "platform.json"
    private_files.write(path, "{}")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_an_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    private_files.directory(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_failed_write_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    private_files.write(path, "old")
    with pytest.raises(UnicodeEncodeError):
        private_files.write(path, "new \udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "secrets.json").symlink_to(victim)
    private_files.write(tmp_path / "secrets.json", "new")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "secrets.json").is_symlink()


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = private_files.secret(tmp_path / "token")
    assert len(first) >= 32
    assert private_files.secret(tmp_path / "token") == first
    assert private_files.secret(tmp_path / "other") != first


def test_an_empty_secret_is_made_anew_and_an_open_one_closed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("\n")
    assert private_files.secret(path)
    path.chmod(0o644)
    private_files.secret(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_where_a_directory_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(HostUnsupported, match="choose another with --data"):
        private_files.directory(tmp_path / "data")
