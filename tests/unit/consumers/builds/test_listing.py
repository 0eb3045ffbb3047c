"""What detection sees of a tree, hostile ones included."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from consumers.builds import listing
from zeitwork.errors import BuildFailed


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_names_and_the_texts_that_planning_reads(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "requirements.txt": "\ufeffflask\n",
            "app/main.py": "app = 1\n",
            "README.md": "words",
            "a/b/c/deep.txt": "",
            "a/b/c/d/deeper.txt": "",
            "node_modules/x/index.js": "",
            ".venv/main.py": "",
        },
    )
    seen = listing.read(tmp_path)
    assert seen.files == {"requirements.txt", "app/main.py", "README.md", "a/b/c/deep.txt"}
    assert seen.texts == {"requirements.txt": "flask\n", "app/main.py": "app = 1\n"}
    assert seen.first("nothing", "README.md") == "README.md"


def test_a_manifest_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"package.json": " " * (1024**2 + 1)})
    with pytest.raises(BuildFailed, match=r"package\.json is larger"):
        listing.read(tmp_path)


def test_a_large_source_is_read_in_part(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "#" * 100_000})
    assert len(listing.read(tmp_path).text("main.py")) == 64 * 1024


def test_a_huge_tree_loses_only_what_lies_deep(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for number in range(20_050):
        os.close(os.open(deep / str(number), os.O_CREAT))
    write(tmp_path, {"package.json": "{}", "z/index.js": ""})
    seen = listing.read(tmp_path)
    assert len(seen.files) == 20_000
    assert "package.json" in seen
    assert "z/index.js" in seen


def test_a_link_to_a_file_counts_and_a_link_to_a_folder_does_not(tmp_path: Path) -> None:
    write(tmp_path, {"real/main.py": "x = 1"})
    (tmp_path / "main.py").symlink_to("real/main.py")
    (tmp_path / "other").symlink_to("real")
    seen = listing.read(tmp_path)
    assert seen.files == {"main.py", "real/main.py"}
    assert seen.text("main.py") == "x = 1"


@pytest.mark.parametrize("target", ["Procfile", "y" * 300, "nowhere"])
def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path, target: str) -> None:
    (tmp_path / "Procfile").symlink_to(target)
    assert listing.read(tmp_path).files == frozenset()


def test_a_device_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "Procfile")  # reading it would wait for ever
    (tmp_path / "main.py").symlink_to("Procfile")
    assert listing.read(tmp_path).files == frozenset()


def test_names_that_are_not_utf_8_become_text(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).touch()
    (name,) = listing.read(tmp_path).files
    assert name.encode() == "\N{REPLACEMENT CHARACTER}.py".encode()
