"""Directories that are held, and trees that resist their removal."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from consumers.builds import caches, directories
from tests.support.builds import nested
from zeitwork.errors import Conflict


def test_a_held_directory_is_neither_taken_nor_removed(tmp_path: Path) -> None:
    path = tmp_path / "build"
    with directories.owned(path):
        with pytest.raises(Conflict, match="in use"), directories.owned(path):
            pytest.fail("held twice")
        assert not directories.remove(path)
        assert path.is_dir()
    assert directories.remove(path)
    assert directories.folders(tmp_path) == []


def test_several_may_share_a_directory_and_it_stays_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with directories.shared(path), directories.shared(path):
        assert not directories.remove(path)
    assert directories.remove(path)


def test_a_name_is_free_as_soon_as_its_holder_removed_it(tmp_path: Path) -> None:
    path = tmp_path / "build"
    with directories.owned(path):
        (path / "old").write_text("x")
        directories.remove_held(path)
        with directories.owned(path):
            assert [*path.iterdir()] == []


def test_a_tree_deeper_than_the_stack_and_longer_than_paths_is_removed(tmp_path: Path) -> None:
    with nested(tmp_path / "build", 1200):
        assert directories.remove(tmp_path / "build")
        assert [*tmp_path.iterdir()] == []


def test_removal_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    build = tmp_path / "build"
    (build / "below").mkdir(parents=True)
    (build / "link").symlink_to(kept)
    (build / "below" / "link").symlink_to(kept)
    assert directories.remove(build)
    assert (kept / "file").read_text() == "x"
    assert [*tmp_path.iterdir()] == [kept]


def test_folders_without_rights_are_removed(tmp_path: Path) -> None:
    build = tmp_path / "build"
    (build / "a" / "b").mkdir(parents=True)
    (build / "a" / "b" / "file").write_text("x")
    for folder in (build / "a" / "b", build / "a", build):
        folder.chmod(0)
    build.chmod(0o700)
    assert directories.remove(build)


def test_removal_opens_few_files_at_once(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / "build" / str(number) / "below").mkdir(parents=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        assert directories.remove(tmp_path / "build")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_caches_that_were_not_used_for_the_longest_go_first(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        with caches.cache_of(tmp_path, name) as cache:
            (cache.packages / "package").write_bytes(bytes(64 * 1024))
        os.utime(cache.root, (1_000_000 - age, 1_000_000 - age))
    with caches.cache_of(tmp_path, "busy") as busy:
        (busy.packages / "package").write_bytes(bytes(64 * 1024))
        os.utime(busy.root, (1, 1))
        caches.trim(tmp_path, budget_bytes=200 * 1024)
        assert busy.root.is_dir()
    with caches.cache_of(tmp_path, "new") as cache:
        assert [*cache.packages.iterdir()] != []
    with caches.cache_of(tmp_path, "old") as cache:
        assert [*cache.packages.iterdir()] == []


def test_a_cache_that_a_build_nested_without_end_is_still_trimmed(tmp_path: Path) -> None:
    with caches.cache_of(tmp_path, "hostile") as cache:
        pass
    with nested(cache.packages, 1200):
        caches.trim(tmp_path, budget_bytes=0)
        assert [*tmp_path.iterdir()] == []


def test_each_repository_has_a_cache_of_its_own(tmp_path: Path) -> None:
    with (
        caches.cache_of(tmp_path, "https://h/a") as one,
        caches.cache_of(tmp_path, "https://h/../b") as other,
    ):
        assert one != other
        assert one.root.parent == other.root.parent == tmp_path
