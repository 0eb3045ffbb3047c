"""Package caches, one directory an owner, bounded together; never needed for correctness.

A build can write its cache, and installers trust what they have unpacked before: whoever shares a
cache can plant packages in the builds of the others. So a project shares with no other project,
though it be on the same repository, and the build of a fork's commit has an empty cache of its own,
which goes with it. Layers of dependencies lie beside them, where no build can write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consumers.builds import directories, tree

INSIDE = "/cache"
_BUDGET_BYTES = 5 * 1024**3


@dataclass(frozen=True, slots=True)
class Cache:
    """The directories of one owner: its builds write into `packages`, we into `layers`."""

    root: Path

    @property
    def packages(self) -> Path:
        return self.root / "packages"

    @property
    def layers(self) -> Path:
        return self.root / "layers"


@contextmanager
def cache_of(root: Path, owner: str) -> Iterator[Cache]:
    """The cache of `owner`, any text, held while in use."""
    key = hashlib.sha256(owner.encode()).hexdigest()[:32]
    with directories.shared(root / key) as path:
        os.utime(path)  # the time of the last use
        cache = Cache(path)
        cache.packages.mkdir(exist_ok=True)
        cache.layers.mkdir(exist_ok=True)
        yield cache


def environment(cache: Path | str) -> Mapping[str, str]:
    """Where the installers find the cache that is at `cache`."""
    return {
        "UV_CACHE_DIR": f"{cache}/uv",
        "PIP_CACHE_DIR": f"{cache}/pip",
        "npm_config_cache": f"{cache}/npm",
    }


def trim(root: Path, *, budget_bytes: int = _BUDGET_BYTES) -> None:
    """Remove the caches that were not used for the longest until the rest fits; blocking."""
    caches = [(path.stat().st_mtime_ns, path, _size(path)) for path in directories.folders(root)]
    total = sum(size for _, _, size in caches)
    for _, path, size in sorted(caches):
        if total <= budget_bytes:
            return
        if directories.remove(path):
            total -= size


def _size(path: Path) -> int:
    total = 0
    for entry in tree.walk(path):
        with contextlib.suppress(FileNotFoundError):
            total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
