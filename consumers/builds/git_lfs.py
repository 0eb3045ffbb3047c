"""Files that are only pointers into Git LFS, whose content the repository does not hold."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from consumers.builds import threads, tree
from consumers.builds.failures import GitLfsPointer
from consumers.builds.listing import shown

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_HEAD = b"version https://git-lfs.github.com/spec/"
_SIZES = range(100, 1024)


def check(app: Path, stop: Event) -> None:
    """Look at every file that is as small as a pointer; blocking.

    Raises:
        GitLfsPointer: one of them is.
    """
    for entry in tree.walk(app):
        threads.check(stop)
        if not entry.is_file(follow_symlinks=False):
            continue
        if entry.stat(follow_symlinks=False).st_size in _SIZES and _is_pointer(Path(entry.path)):
            name = shown(Path(entry.path).relative_to(app))
            raise GitLfsPointer(
                f"{name[:200]} is a pointer to Git LFS, which is not fetched here. Commit the file "
                "itself (`git lfs migrate export`), or have the build download it."
            )


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD
