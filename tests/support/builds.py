"""Repositories with folders, links and modes, and a build pipeline to put them through."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
from typing_extensions import override

from consumers.builds.pipeline import BuildRequest, BuildResult, Pipeline
from events.builds import Stream
from zeitwork import ids, sandbox
from zeitwork.blobs import DiskBlobStore
from zeitwork.masking import Masking

_IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")


class Lines(list[str]):
    """A log to give to a transcript; keeps what it is told.

    Attributes:
        streams: who said each line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[Stream] = []

    def __call__(self, text: str, stream: Stream) -> None:
        self.append(text)
        self.streams.append(stream)

    @override
    def clear(self) -> None:
        super().clear()
        self.streams.clear()


class GitRepository:
    """A git repository on disk; commits hold folders, links and programs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def commit(self, files: Mapping[str, str], *, links: Mapping[str, str] | None = None) -> str:
        """Add files and links to what is there; the new commit's SHA."""
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, target in (links or {}).items():
            (self.path / name).symlink_to(target)
        self.git("add", "--all")
        self.git(*_IDENTITY, "commit", "--quiet", "--allow-empty", "--message", "Change")
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            check=True,
            capture_output=True,
            input=text,
            text=True,
        )
        return done.stdout.strip()


@dataclass
class Workbench:
    """A pipeline on directories of the test's own, and what its last build said."""

    root: Path
    lines: Lines = field(default_factory=Lines)

    @property
    def work_dir(self) -> Path:
        return self.root / "builds"

    def pipeline(
        self,
        *,
        sandbox: Literal["auto", "off"] = "auto",
        timeout_seconds: float = 45.0,
        memory_mib: int = 1024,
        processes: int = 1024,
    ) -> Pipeline:
        return Pipeline(
            blobs=DiskBlobStore(self.root / "blobs"),
            work_dir=self.work_dir,
            cache_dir=self.root / "cache",
            sandbox=sandbox,
            timeout_seconds=timeout_seconds,
            memory_mib=memory_mib,
            processes=processes,
        )

    async def build(
        self,
        pipeline: Pipeline,
        url: str,
        sha: str,
        *,
        root: str = "",
        build_id: str | None = None,
        variables: Mapping[str, str] | None = None,
        trusted: bool = True,
    ) -> BuildResult:
        self.lines.clear()
        given = variables or {}
        request = BuildRequest(
            build_id or f"bld-{ids.token(9)}",
            url,
            sha,
            root,
            variables=given,
            masking=Masking(given.values()),
            trusted=trusted,
        )
        return await pipeline.build(request, self.lines)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def leftovers(self) -> list[Path]:
        """What is still in the directory of builds; nothing when every build has cleaned up."""
        return [*self.work_dir.iterdir()] if self.work_dir.exists() else []


def alive_with(mark: str) -> list[int]:
    """Processes whose command line holds `mark`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(mark in part for part in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@contextmanager
def nested(top: Path, depth: int) -> Iterator[Path]:
    """Folders below `top`, nested so deep that no path reaches the last; gone afterwards.

    What is left of them would stop pytest, which removes old directories by recursion.
    """
    top.mkdir(parents=True, exist_ok=True)
    folder = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=folder)
        below = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(os.open("file", os.O_CREAT, dir_fd=below))
        os.close(folder)
        folder = below
    os.close(folder)
    try:
        yield top
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)


async def why_no_sandbox(directory: Path) -> str | None:
    return await sandbox.why_unavailable(directory)
