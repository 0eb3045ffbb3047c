"""From a commit to a stored artifact: fetch, detect, build, pack, store."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from consumers.builds import (
    builders,
    caches,
    clone_url,
    directories,
    intention,
    pack,
    source,
    submodules,
    survivors,
    threads,
)
from consumers.builds.builders import Builder
from consumers.builds.detect import Kind
from consumers.builds.engine import Engine, EngineSettings, EngineUnavailable
from consumers.builds.git import Git
from consumers.builds.intention import Intention
from consumers.builds.logins import Logins, NoLogins
from consumers.builds.manifest import Manifest
from consumers.builds.transcript import Log, Transcript
from consumers.builds.workshop import Workshop
from zeitwork import cgroups, clock, failpoints, logs, metrics, sandbox, tracing
from zeitwork.blobs import Blob
from zeitwork.errors import BuildTimedOut, Conflict, InvalidInput
from zeitwork.failpoints import Failpoint
from zeitwork.masking import Masking

__all__ = ["BuildRequest", "BuildResult", "Manifest", "Pipeline"]

_log = logs.get(__name__)
_BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_FETCH_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and for which project, whose logins serve to fetch it.

    `root_directory` is "" or a path relative to the repository's top.

    Attributes:
        variables: for the environment of the build's commands.
        masking: what must not appear in the log.
        trusted: False for code of a fork, whose build shares no cache with others.
    """

    build_id: str
    clone_url: str
    commit_sha: str
    root_directory: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    masking: Masking = field(default_factory=Masking, repr=False)
    project_id: str | None = None
    trusted: bool = True

    @property
    def cache_owner(self) -> str:
        """Whose builds share the cache."""
        return self.project_id or clone_url.parse(self.clone_url).address


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The stored artifact, and what it says of itself.

    Attributes:
        blob: the application.
        dependencies: what of it was installed, where that lies apart.
    """

    blob: Blob
    manifest: Manifest
    dependencies: Blob | None = None

    @property
    def layers(self) -> list[Blob]:
        """All of it, the lowest first."""
        return [self.blob] if self.dependencies is None else [self.dependencies, self.blob]


@dataclass(frozen=True, slots=True)
class _Job:
    """One build on its way."""

    request: BuildRequest
    remote: clone_url.Remote
    folder: Path
    transcript: Transcript


class Shelf(Protocol):
    """Where artifacts are put."""

    async def put(self, source: Path) -> Blob:
        """Store a copy of the file `source`."""


class Pipeline:
    """Builds commits; as many at once as the caller likes, each in a directory of its own."""

    def __init__(
        self,
        *,
        blobs: Shelf,
        work_dir: Path,
        cache_dir: Path,
        sandbox: Literal["auto", "off"],
        timeout_seconds: float,
        memory_mib: int,
        cpus: float = 2.0,
        processes: int = 1024,
        logins: Logins | None = None,
        engine: EngineSettings | None = None,
    ) -> None:
        self._blobs = blobs
        self._work_dir = work_dir
        self._cache_dir = cache_dir
        self._sandbox = sandbox
        self._timeout_seconds = timeout_seconds
        self._memory_mib = memory_mib
        self._limits = cgroups.Limits(memory_mib * 1024**2, cpus, processes)
        self._hierarchy = cgroups.here()
        self._logins = logins or NoLogins()
        self._engine = engine
        self._sandbox_works = False
        self._builders: dict[Kind, Builder] = {}

    async def build(self, request: BuildRequest, log: Log) -> BuildResult:
        """Build; `log` gets each line. Cancelled or not, no process and no file stays behind.

        Raises:
            BuildFailed: or a subclass: the repository cannot become an artifact.
            HostUnsupported: this machine lacks what the repository needs.
            Conflict: this build is running already.
        """
        if not _BUILD_ID.fullmatch(request.build_id):
            raise InvalidInput(f"{request.build_id[:80]!r} is not a build id")
        remote = clone_url.parse(request.clone_url)
        source.check_sha(request.commit_sha)
        transcript = Transcript(log, masking=request.masking)
        started = clock.monotonic()
        async with _workspace(self._work_dir / request.build_id, self._hierarchy) as folder:
            deadline = asyncio.timeout(self._timeout_seconds)
            try:
                async with deadline:
                    result = await self._run(_Job(request, remote, folder, transcript))
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                raise BuildTimedOut(
                    f"The build took longer than {self._timeout_seconds:g} s and was stopped. "
                    f"The last step was: {transcript.current}. A build must neither wait for input "
                    "nor serve; if it only needs longer, have the operator raise "
                    "ZEITWORK_CONSUMERS__BUILD_TIMEOUT_SECONDS."
                ) from error
        transcript.step(f"Built in {clock.monotonic() - started:.2f} s")
        return result

    async def sweep(self) -> list[str]:
        """Remove what killed processes left of builds, whose ids come back.

        For the start of a process and every few hours; builds that run are not touched.
        """
        folders = await asyncio.to_thread(directories.folders, self._work_dir)
        return [folder.name for folder in folders if await _clear(folder, self._hierarchy)]

    async def trim(self) -> None:
        """Remove old caches until the rest fits."""
        await threads.run(lambda _: caches.trim(self._cache_dir))
        if self._engine is not None:
            try:
                await Engine(self._engine).prune()
            except EngineUnavailable as error:
                _log.warning("images not pruned", error=error.message)

    async def _run(self, job: _Job) -> BuildResult:
        checkout = await self._fetch(job)
        failpoints.reach(Failpoint.BUILD_FETCHED)
        app, intended = await self._decide(job, checkout)
        await self._carry_out(job, app, intended)
        failpoints.reach(Failpoint.BUILD_BUILT)
        return await self._keep(job, app / intended.plan.artifact, intended)

    async def _fetch(self, job: _Job) -> Path:
        commit, transcript = job.request.commit_sha, job.transcript
        checkout = job.folder / "source"
        checkout.mkdir()
        limits = source.Limits()
        git = Git(
            checkout,
            settings=job.folder / "gitconfig",
            most_file_bytes=limits.total_bytes,
            timeout_seconds=min(_FETCH_TIMEOUT_SECONDS, self._timeout_seconds),
        )
        with _step("fetch", transcript, f"Fetching {commit[:12]} from {job.remote.address}"):
            try:
                remote = await self._logins.with_login(
                    job.remote, project_id=job.request.project_id
                )
                facts = await submodules.fetch(
                    remote, commit, git=git, limits=limits, transcript=transcript
                )
            finally:
                git.forget()
        transcript.say(f"{facts.files} files, {_size(facts.size)}")
        return checkout

    async def _decide(self, job: _Job, checkout: Path) -> tuple[Path, Intention]:
        root = job.request.root_directory
        where = f" in {root}" if root else ""
        with _step("detect", job.transcript, f"Looking at what it is{where}"):
            seen = await threads.run(partial(intention.look, checkout, root))
            understood = intention.understand(
                seen.listing, seen.file, engine=self._engine is not None
            )
            builder = await self._builder(understood.detection.kind)
            intended = intention.intend(builder, understood)
        for line in intended.lines:
            job.transcript.say(line)
        return seen.app, intended

    async def _carry_out(self, job: _Job, app: Path, intended: Intention) -> None:
        home = job.folder / "home"
        home.mkdir()
        async with self._group(job, wanted=bool(intended.plan.all_commands)) as group:
            await self._build_in(group, job, intended, app=app, home=home)

    async def _build_in(
        self, group: cgroups.Group, job: _Job, intended: Intention, *, app: Path, home: Path
    ) -> None:
        plan, transcript = intended.plan, job.transcript
        with (
            caches.cache_of(self._caches(job), job.request.cache_owner) as cache,
            _step("build", transcript, f"Building with the {intended.builder.name} builder"),
        ):
            if group.lacks and plan.all_commands:
                transcript.say(
                    f"This host does not limit {' and '.join(group.lacks)} of a whole build "
                    f"({group.reason}); each process is limited by itself"
                )
            workshop = Workshop(
                app=app,
                home=home,
                cache=cache.packages,
                layers=cache.layers,
                build_id=job.request.build_id,
                sandboxed=bool(plan.all_commands) and await self._sandboxed(job),
                memory_mib=self._memory_mib,
                timeout_seconds=self._timeout_seconds,
                transcript=transcript,
                group=group,
                variables=job.request.variables,
            )
            await intended.builder.build(plan, workshop)
            if not plan.all_commands and plan.runtime == "process":
                transcript.say("There is nothing to install or to compile")

    def _caches(self, job: _Job) -> Path:
        """Where the build's cache is; one that is not trusted takes its own along when it ends."""
        return self._cache_dir if job.request.trusted else job.folder / "cache"

    @asynccontextmanager
    async def _group(self, job: _Job, *, wanted: bool) -> AsyncIterator[cgroups.Group]:
        """The control group of a build's commands; an empty one where the host has none."""
        if not wanted:
            yield cgroups.Group(())
            return
        group = cgroups.create(job.request.build_id, self._limits, within=self._hierarchy)
        try:
            yield group
        finally:
            await group.remove()

    async def _keep(self, job: _Job, app: Path, intended: Intention) -> BuildResult:
        """Pack and store; dependencies apart, so that a change of code alone does not move them."""
        archive = job.folder / "artifact.tar.zst"
        layer = intended.plan.layer
        apart = pack.Apart(layer.folder, job.folder / "dependencies.tar.zst") if layer else None
        dependencies: Blob | None = None
        with _step("pack", job.transcript, "Packing"):
            packed = await pack.pack(app, archive, limits=pack.Limits(), apart=apart)
        with _step("store", job.transcript, "Storing the artifact"):
            if apart is not None and packed.apart:
                dependencies = await self._blobs.put(apart.target)
            blob = await self._blobs.put(archive)
        result = BuildResult(blob, intended.manifest, dependencies)
        said = " + ".join(f"{_size(each.size)} {each.digest[:12]}" for each in result.layers)
        job.transcript.say(f"{packed.files} files, {_size(packed.size)}, packed {said}")
        return result

    async def _builder(self, kind: Kind) -> Builder:
        if kind not in self._builders:
            self._builders[kind] = await builders.create(kind, engine=self._engine)
        return self._builders[kind]

    async def _sandboxed(self, job: _Job) -> bool:
        """Whether commands run in the sandbox; tried until it works once, said when it does not."""
        if self._sandbox == "off":
            job.transcript.say("The sandbox is switched off; commands run as the platform's user")
            return False
        if not self._sandbox_works:
            reason = await sandbox.why_unavailable(job.folder)
            if reason is not None:
                job.transcript.say(f"No sandbox on this host ({reason}); commands run without it")
                return False
            self._sandbox_works = True
        return True


@asynccontextmanager
async def _workspace(folder: Path, hierarchy: cgroups.Hierarchy) -> AsyncIterator[Path]:
    """An empty directory of a build, held and in the end removed."""
    if await asyncio.to_thread(folder.exists):
        await _clear(folder, hierarchy)
    with directories.owned(folder):
        try:
            yield folder
        finally:
            await _discard(folder)


async def _clear(folder: Path, hierarchy: cgroups.Hierarchy) -> bool:
    """End and remove what a killed builder left; False when it is a build that runs."""
    with contextlib.suppress(Conflict), directories.owned(folder):
        await cgroups.left(folder.name, within=hierarchy).remove()
        await survivors.end(folder.name)
        await _discard(folder)
        return True
    return False


async def _discard(folder: Path) -> None:
    try:
        await threads.run(lambda _: directories.remove_held(folder))
    except OSError as error:
        # The result is worth more; the next sweep tries again.
        _log.warning("build directory not removed", build_id=folder.name, error=str(error))


@contextmanager
def _step(name: str, transcript: Transcript, text: str) -> Iterator[None]:
    """Announce a step, and measure it however it ends."""
    transcript.step(text)
    started = clock.monotonic()
    try:
        with tracing.span(f"build.{name}"):
            yield
    finally:
        metrics.BUILD_SECONDS.labels(name).observe(clock.monotonic() - started)


def _size(count: int) -> str:
    if count < 1024:  # noqa: PLR2004 - the binary step
        return f"{count} B"
    size = count / 1024
    for unit in ("KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
