"""What detection and planning look at: the names of an application's files, the text of a few."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zeitwork.errors import BuildFailed

# Entry points that a start command may be read from, at the top or one folder below.
PYTHON_MODULES = ("main", "app", "server", "asgi", "wsgi")
_DEPTH = 3
_MOST_FILES = 20_000
_MANIFESTS = frozenset(
    {"Procfile", "package.json", "pyproject.toml", "requirements.txt", "zeitwork.toml"}
    | {".python-version", "runtime.txt", ".nvmrc", ".node-version", "manage.py"}
)
_SOURCES = frozenset({f"{name}.py" for name in PYTHON_MODULES} | {"settings.py", "__init__.py"})
_MOST_MANIFEST_BYTES = 1024 * 1024
_MOST_SOURCE_BYTES = 64 * 1024
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "env"})


@dataclass(frozen=True, slots=True)
class Listing:
    """File paths relative to the application's root (POSIX, three folders deep), and texts."""

    files: frozenset[str]
    texts: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, path: str) -> bool:
        return path in self.files

    def text(self, path: str) -> str:
        """The content of `path`; empty when it is absent or not among the texts."""
        return self.texts.get(path, "")

    def first(self, *paths: str) -> str | None:
        """The first of `paths` that exists."""
        return next((path for path in paths if path in self.files), None)


def shown(path: Path) -> str:
    """A path as text that can be stored and sent: names on disk need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def read(app: Path) -> Listing:
    """Look at the tree below `app`; blocking.

    Raises:
        BuildFailed: a manifest is too large to be one.
    """
    files: set[str] = set()
    texts: dict[str, str] = {}
    for path in _walk(app):
        if len(files) >= _MOST_FILES:
            break
        name = shown(path.relative_to(app))
        files.add(name)
        if name in _MANIFESTS:
            texts[name] = _manifest(path, name)
        elif path.name in _SOURCES:
            with path.open("rb") as file:
                texts[name] = _decoded(file.read(_MOST_SOURCE_BYTES))
    return Listing(frozenset(files), texts)


def _walk(app: Path) -> Iterator[Path]:
    """Files by depth, the top ones first, so that a cut listing loses only what lies deep."""
    level = [app]
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if _is_file(entry):
                    yield Path(entry.path)
                elif entry.is_dir(follow_symlinks=False) and _interesting(entry.name):
                    below.append(Path(entry.path))
        level = below


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself, or to a name that no file system takes
        return False


def _interesting(folder: str) -> bool:
    return folder not in _SKIPPED and not folder.startswith(".")


def _manifest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        content = file.read(_MOST_MANIFEST_BYTES + 1)
    if len(content) > _MOST_MANIFEST_BYTES:
        raise BuildFailed(f"{name} is larger than 1 MiB; it cannot be read as a manifest.")
    return _decoded(content)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8-sig", "replace")
