"""The application's directory: inside the checkout, and no link leads out of it."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest

from consumers.builds import threads, tree
from tests.support.builds import nested
from zeitwork.errors import SourceUnavailable


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in (".git", "apps/web", "shared"):
        (tmp_path / "checkout" / folder).mkdir(parents=True)
    (tmp_path / "secret").write_text("of the host")
    return tmp_path / "checkout"


def adopt(checkout: Path, root: str = "") -> Path:
    return tree.adopt(checkout, root, Event())


@pytest.mark.parametrize("root", ["apps/web", "apps/web/", "./apps/web", "apps//web"])
def test_the_root_directory_is_found(checkout: Path, root: str) -> None:
    assert adopt(checkout, root) == checkout / "apps" / "web"


def test_the_history_is_removed(checkout: Path) -> None:
    assert adopt(checkout) == checkout
    assert not (checkout / ".git").exists()


@pytest.mark.parametrize(
    "root", ["..", "../checkout", "apps/../../secret", "/etc", "/", "a\0b", "apps/.."]
)
def test_a_root_directory_that_leads_out_is_refused(checkout: Path, root: str) -> None:
    with pytest.raises(SourceUnavailable, match="leads out"):
        adopt(checkout, root)


@pytest.mark.parametrize("root", ["nothing", ".git", "x" * 300, "x/" * 400, "loop", "loop/x"])
def test_a_root_directory_that_is_not_there_is_refused(checkout: Path, root: str) -> None:
    (checkout / "loop").symlink_to("loop")
    with pytest.raises(SourceUnavailable, match="has no directory"):
        adopt(checkout, root)


@pytest.mark.parametrize("target", ["..", "/etc", "apps/../.."])
def test_a_root_directory_that_is_a_link_out_is_refused(checkout: Path, target: str) -> None:
    (checkout / "out").symlink_to(target)
    with pytest.raises(SourceUnavailable, match="link that leads out"):
        adopt(checkout, "out")


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../../../secret",
        "../../shared",
        "/proc/self/environ",
        "up/secret",
        "a/../..",
    ],
)
def test_a_link_out_of_the_application_is_refused(checkout: Path, target: str) -> None:
    app = checkout / "apps" / "web"
    (app / "up").symlink_to("../../..") if target.startswith("up") else None
    (app / "a").mkdir()
    (app / "a" / "link").symlink_to(target if target[0] in "/." else f"../{target}")
    with pytest.raises(SourceUnavailable, match="Replace it by a copy"):
        adopt(checkout, "apps/web")


def test_links_inside_the_application_stay(checkout: Path) -> None:
    (checkout / "apps" / "link").symlink_to("../shared")
    (checkout / "nowhere").symlink_to("not/there")
    (checkout / "loop").symlink_to("loop")
    assert adopt(checkout) == checkout


def test_a_name_that_is_not_utf_8_can_be_told(checkout: Path) -> None:
    Path(os.fsdecode(os.fsencode(checkout) + b"/\xff")).symlink_to(os.fsdecode(b"/\xfe"))
    with pytest.raises(SourceUnavailable) as caught:
        adopt(checkout)
    caught.value.message.encode()


def test_a_tree_deeper_than_the_stack_is_walked(checkout: Path) -> None:
    with nested(checkout / "top", 1100):
        adopt(checkout)
        deepest = max(len(entry.path) for entry in tree.walk(checkout))
    assert 0 <= deepest - len(str(checkout)) - tree.MOST_PATH_BYTES <= len("/deep")


def test_nobody_waits_for_a_walk_that_is_no_longer_wanted(checkout: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(threads.Stopped):
        tree.adopt(checkout, "", stop)
