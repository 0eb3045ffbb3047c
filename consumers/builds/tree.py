"""From a checkout to an application's directory: the root is inside, and no link leads out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from threading import Event

from consumers.builds import threads
from zeitwork.errors import SourceUnavailable


def adopt(tree: Path, root_directory: str, stop: Event) -> Path:
    """The application's directory in a fresh checkout; removes `.git`. Blocking.

    Raises:
        SourceUnavailable: the root directory is not in the tree, or a link leads out of it.
    """
    shutil.rmtree(tree / ".git", ignore_errors=True)
    app = _root(tree.resolve(), root_directory)
    for folder, folders, names in os.walk(app):
        threads.check(stop)
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink():
                _check_link(path, app)
    return app


def _root(tree: Path, root_directory: str) -> Path:
    asked = PurePosixPath(root_directory)
    if asked.is_absolute() or ".." in asked.parts or "\0" in root_directory:
        raise SourceUnavailable(
            f"The root directory {root_directory!r} leads out of the repository; give a path "
            "relative to its top."
        )
    app = (tree / asked).resolve()
    if not app.is_relative_to(tree):
        raise SourceUnavailable(f"The root directory {root_directory!r} is a link that leads out.")
    if not app.is_dir():
        raise SourceUnavailable(f"This commit has no directory {root_directory!r}.")
    return app


def _check_link(path: Path, app: Path) -> None:
    target = path.readlink()
    # A relative link may lead through other links; an absolute one means something else in the
    # place where the application runs.
    if target.is_absolute() or not Path(os.path.realpath(path)).is_relative_to(app):
        raise SourceUnavailable(
            f"{path.relative_to(app)} is a link to {str(target)[:200]!r}, outside of the "
            "application's directory. Replace it by a copy."
        )
