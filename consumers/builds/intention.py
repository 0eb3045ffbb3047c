"""What is to be done with a checkout, and why: look at it, understand it, plan. Runs nothing."""

from __future__ import annotations

import errno
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Event

from consumers.builds import declared as declarations
from consumers.builds import git_lfs, listing, procfile, project_file, tree
from consumers.builds.builders.base import Builder
from consumers.builds.declared import Declared
from consumers.builds.detect import Detection, detect
from consumers.builds.failures import InvalidZeitworkToml, NoStartCommand, ProcfileWithoutWeb
from consumers.builds.listing import Listing
from consumers.builds.manifest import Manifest
from consumers.builds.plan import Plan
from consumers.builds.procfile import Procfile
from consumers.builds.project_file import NAME, ProjectFile

_MOST_FILE_BYTES = 64 * 1024
_RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Seen:
    """An application's directory, and what lies in it."""

    app: Path
    listing: Listing
    file: ProjectFile


@dataclass(frozen=True, slots=True)
class Understanding:
    """What kind of application it is, and what it says of itself."""

    listing: Listing
    file: ProjectFile
    procfile: Procfile
    declared: Declared
    detection: Detection


@dataclass(frozen=True, slots=True)
class Intention:
    """What will be done by which builder."""

    builder: Builder
    understanding: Understanding
    plan: Plan

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it for people."""
        ignored = self.understanding.procfile.ignored
        return (
            *self.understanding.detection.lines,
            *self.plan.notes,
            *(f"Procfile: {line[:200]!r} is not understood and ignored" for line in ignored),
        )

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            builder=self.builder.name,
            processes=dict(self.plan.processes),
            release=self.understanding.declared.release,
            env=dict(self.plan.env),
            path=list(self.plan.path),
            detected=[*self.understanding.detection.lines, *self.plan.notes],
            toolchain=dict(self.builder.versions),
            runtime=self.plan.runtime,
            declared=self.understanding.file.model_dump(mode="json", exclude_defaults=True),
            architecture=platform.machine(),
        )


def look(checkout: Path, root_directory: str, stop: Event) -> Seen:
    """Look at a fresh checkout; blocking.

    Raises:
        SourceUnavailable: the root directory is not there, a link leads out of it, or a file is
            only a pointer to Git LFS.
        InvalidZeitworkToml: it cannot be understood.
        BuildFailed: a manifest is too large to be one.
    """
    file = read_file(tree.locate(checkout.resolve(), root_directory))
    root = str(PurePosixPath(root_directory, file.root or ""))
    app = tree.adopt(checkout, root, stop)
    git_lfs.check(app, stop)
    return Seen(app, listing.read(app), file)


def read_file(folder: Path) -> ProjectFile:
    """zeitwork.toml of a directory, which need not have one; blocking.

    Raises:
        InvalidZeitworkToml: it cannot be understood, or is no file of the directory's own.
    """
    try:
        content = _read(folder / NAME)
    except FileNotFoundError:
        return ProjectFile()
    except IsADirectoryError as error:
        raise InvalidZeitworkToml(f"{NAME} is a directory. Rename it.") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InvalidZeitworkToml(f"{NAME} is a link. Put the file in its place.") from error
    if len(content) > _MOST_FILE_BYTES:
        raise InvalidZeitworkToml(f"{NAME} is larger than 64 KiB. Make it shorter.")
    try:
        return project_file.parse(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise InvalidZeitworkToml(
            f"{NAME}, line {line}, column {column}: not UTF-8. Save it as UTF-8."
        ) from error


def understand(seen: Listing, file: ProjectFile, *, engine: bool = False) -> Understanding:
    """Tell what it is.

    Args:
        engine: whether there is a Docker Engine to build images.

    Raises:
        NothingDetected: nothing says what it is.
        BuildFailed: a manifest cannot be parsed.
    """
    said = procfile.parse(seen.text("Procfile"))
    return Understanding(
        listing=seen,
        file=file,
        procfile=said,
        declared=declarations.declared(said, file),
        detection=detect(seen, file, engine=engine),
    )


def intend(builder: Builder, understood: Understanding) -> Intention:
    """Plan the build.

    Raises:
        ProcfileWithoutWeb: there are processes, but none that answers requests.
        NoStartCommand: nothing says how it is started.
        BuildFailed: the repository contradicts itself, or asks for what is not there.
    """
    _check_web(builder, understood)
    plan = builder.plan(understood.listing, understood.declared)
    env = understood.file.env
    plan = replace(plan, build_env={**plan.build_env, **env}, env={**plan.env, **env})
    return Intention(builder, understood, plan)


def _check_web(builder: Builder, understood: Understanding) -> None:
    """A Procfile is the list of all processes; one that leaves web out has forgotten it."""
    declared = understood.declared
    listed = sorted(understood.procfile.processes.keys() - {_RELEASE})
    if not listed or declared.web is not None or declared.site is not None:
        return
    if understood.detection.kind == "dockerfile":  # an image has a command of its own
        return
    advice = "`web: COMMAND`"
    try:
        plan = builder.plan(understood.listing, Declared(build=declared.build))
        if plan.site is None:
            advice = f"`web: {plan.processes['web']}`"
    except NoStartCommand:  # then there is no command to propose
        pass
    raise ProcfileWithoutWeb(
        f"The Procfile declares {', '.join(listed)[:200]}, but no process named web, which answers "
        f"requests. Add a line such as {advice} to it, or remove the Procfile."
    )


def _read(path: Path) -> bytes:
    """Up to one byte more than is allowed; follows no link and waits for no pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, _MOST_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
