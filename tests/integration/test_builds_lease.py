"""The lease of a build: one builder at a time, and none that lost it changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import text
from typing_extensions import override

from consumers.builds.handler import Builder
from consumers.builds.manifest import Manifest
from consumers.builds.pipeline import BuildRequest, BuildResult, Pipeline
from consumers.outcomes import Done, Drop, Later, Outcome
from db.models import Artifact, Build, BuildLog
from db.queries.artifacts import blobs_note
from db.queries.builds import builds_cancel
from db.session import UnitOfWork
from events.builds import BuildRequested
from events.envelope import Envelope
from events.memory import MemoryBus
from events.states import BuildState
from tests.support.builds import GitRepository, Workbench
from tests.support.eventually import eventually
from tests.support.factories import (
    MovableClock,
    Version,
    add_site,
    add_version,
    changed,
    envelope,
    events_of,
    every,
    fetch,
)
from zeitwork import clock
from zeitwork.blobs import Blob
from zeitwork.errors import BuildFailed, Conflict, TimedOut

RESULT = BuildResult(Blob("d" * 64, 10), Manifest(builder="static", processes={"web": "run"}))


class Hasty(MovableClock):
    """Renews a lease, and writes a log, without the pauses."""

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


class Patient(clock.SystemClock):
    """Never comes to the next renewal of a lease."""

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds if seconds < 10 else 600)


class Script:
    """Stands for the pipeline: prints lines, then waits until it is told how to end."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        self.log: Callable[..., object] = lambda _: None
        self.runs = 0
        self.asked: BuildRequest | None = None
        self.cancelled = False
        self._end: asyncio.Future[BuildResult] = asyncio.get_running_loop().create_future()

    async def build(self, request: BuildRequest, log: Callable[..., object]) -> BuildResult:
        self.runs += 1
        self.asked = request
        self.log = log
        for line in self.lines:
            log(line)
        try:
            return await asyncio.shield(self._end)
        except asyncio.CancelledError:
            self.cancelled = True
            log("interrupted")
            raise

    def finish(self, error: BaseException | None = None) -> None:
        if error is None:
            self._end.set_result(RESULT)
        else:
            self._end.set_exception(error)


class Scene:
    """A build that was asked for, and builders to handle the request."""

    def __init__(self, work: UnitOfWork, version: Version) -> None:
        self.work = work
        self.version = version

    @property
    def request(self) -> Envelope:
        build = self.version.build
        event = BuildRequested(build_id=build.id, deployment_id=build.deployment_id)
        return envelope(event, subject=build.id)

    def handle(self, script: Script | Pipeline) -> asyncio.Task[Outcome]:
        builder = Builder(work=self.work, bus=MemoryBus(), pipeline=cast("Pipeline", script))
        return asyncio.ensure_future(builder.build_requested(self.request))

    @asynccontextmanager
    async def running(self, script: Script) -> AsyncIterator[asyncio.Task[Outcome]]:
        """A builder that is at work."""
        task = self.handle(script)
        try:
            await eventually(lambda: script.runs)
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def build(self) -> Build:
        found: Build = await fetch(self.work, Build, self.version.build.id)
        return found

    async def log(self) -> list[str]:
        """The lines, which have to be numbered without a gap."""
        rows = await every(self.work, BuildLog, build_id=self.version.build.id)
        assert [row.line_number for row in rows] == [*range(1, len(rows) + 1)]
        return [row.line for row in rows]

    async def logged(self, count: int) -> None:
        async def enough() -> bool:
            return len(await self.log()) >= count

        await eventually(enough)

    async def said(self) -> list[str]:
        """The types of the events about the build, the request left out."""
        rows = await events_of(self.work.database)
        types = [row.type for row in rows if row.type.startswith("build.")]
        return [type_ for type_ in types if type_ != "build.requested"]

    async def artifacts(self) -> int:
        return len(await every(self.work, Artifact))


@pytest.fixture
async def scene(work: UnitOfWork) -> Scene:
    return await scene_of(work)


async def scene_of(work: UnitOfWork, *, trusted: bool = True) -> Scene:
    async with work.transaction() as tx:
        await blobs_note(tx.session, [RESULT.blob])
    return Scene(work, await add_version(work, await add_site(work), trusted=trusted))


async def test_a_build_becomes_an_artifact_with_its_log(scene: Scene) -> None:
    script = Script("one", "two")
    async with scene.running(script) as task:
        assert (await scene.build()).state is BuildState.RUNNING
        script.finish()
        assert await task == Done()
    build = await scene.build()
    assert build.state is BuildState.SUCCEEDED
    assert build.finished_at is not None
    assert await scene.log() == ["one", "two"]
    assert await scene.said() == ["build.started", "build.succeeded"]
    assert await scene.artifacts() == 1


async def test_a_request_that_comes_again_after_the_end_changes_nothing(scene: Scene) -> None:
    first = Script("one")
    first.finish()
    assert await scene.handle(first) == Done()
    again = Script("again")
    assert await scene.handle(again) == Done()
    assert again.runs == 0
    assert await scene.said() == ["build.started", "build.succeeded"]


async def test_a_second_builder_waits_for_the_lease(scene: Scene) -> None:
    async with scene.running(Script()):
        second = Script()
        outcome = await scene.handle(second)
    assert isinstance(outcome, Later)
    assert 0 < outcome.seconds <= 40
    assert second.runs == 0


async def test_of_many_builders_at_once_one_builds(scene: Scene) -> None:
    scripts = [Script(f"builder {number}") for number in range(6)]
    for script in scripts:
        script.finish()
    outcomes = await asyncio.gather(*(scene.handle(script) for script in scripts))
    assert sum(script.runs for script in scripts) == 1
    assert {type(outcome) for outcome in outcomes} <= {Done, Later}
    assert await scene.said() == ["build.started", "build.succeeded"]
    assert len(await scene.log()) == 1


async def test_a_long_build_keeps_its_lease(scene: Scene) -> None:
    with clock.using(Hasty()) as ahead:
        async with scene.running(Script()):
            before = (await scene.build()).lease_until
            ahead.advance(30)

            async def renewed() -> bool:
                until = (await scene.build()).lease_until
                assert until is not None
                assert before is not None
                return (until - before).total_seconds() >= 30

            await eventually(renewed)


async def test_a_builder_that_was_taken_for_dead_changes_nothing(scene: Scene) -> None:
    dead, heir = Script("dead 1", "dead 2"), Script()
    async with scene.running(dead) as forgotten:
        await scene.logged(2)
        with clock.using(MovableClock()) as later:
            later.advance(120)
            async with scene.running(heir) as task:
                dead.log("dead 3")
                dead.finish()
                outcome = await forgotten
                heir.log("heir 1")
                heir.finish()
                assert await task == Done()
    assert outcome == Drop("the build was cancelled or taken over")
    assert await scene.log() == ["dead 1", "dead 2", "heir 1"]
    assert await scene.said() == ["build.started", "build.succeeded"]
    assert await scene.artifacts() == 1


async def test_a_builder_that_was_taken_for_dead_cannot_fail_the_build(scene: Scene) -> None:
    dead, heir = Script(), Script("heir")
    async with scene.running(dead) as forgotten:
        with clock.using(MovableClock()) as later:
            later.advance(120)
            async with scene.running(heir) as task:
                dead.finish(BuildFailed("the dead one's"))
                assert isinstance(await forgotten, Drop)
                assert (await scene.build()).state is BuildState.RUNNING
                heir.finish()
                assert await task == Done()
    assert await scene.log() == ["heir"]
    assert await scene.said() == ["build.started", "build.succeeded"]


async def test_losing_the_lease_ends_the_pipeline(scene: Scene) -> None:
    script = Script()
    with clock.using(Hasty()):
        async with scene.running(script) as task:
            async with changed(scene.work, Build, scene.version.build.id) as build:
                build.lease_token = "another's"
            assert isinstance(await task, Drop)
    assert script.cancelled
    assert (await scene.build()).lease_token == "another's"


async def test_a_cancelled_build_ends_and_says_nothing_more(scene: Scene) -> None:
    script = Script("one")
    with clock.using(Hasty()):
        async with scene.running(script) as task:
            await scene.logged(1)
            async with scene.work.transaction() as tx:
                await builds_cancel(tx, scene.version.deployment.id)
            assert isinstance(await task, Drop)
    assert script.cancelled
    assert (await scene.build()).state is BuildState.CANCELLED
    assert await scene.said() == ["build.started", "build.cancelled"]
    assert await scene.log() == ["one", "interrupted", "The build was cancelled."]


async def test_a_build_that_is_cancelled_before_its_builder_listens_ends_at_once(
    scene: Scene,
) -> None:
    """Between taking a build and running it, nobody here knows what the word is about."""
    script = Script()
    builder = Builder(work=scene.work, bus=MemoryBus(), pipeline=cast("Pipeline", script))
    with clock.using(Patient()):
        async with scene.work.transaction() as tx:
            await tx.session.execute(text("LOCK TABLE deployment_variables IN EXCLUSIVE MODE"))
            await tx.session.execute(text("LOCK TABLE variables IN ACCESS EXCLUSIVE MODE"))
            task = asyncio.ensure_future(builder.build_requested(scene.request))

            async def taken() -> bool:
                return (await scene.build()).state is BuildState.RUNNING

            await eventually(taken)
            await builds_cancel(tx, scene.version.deployment.id)
            builder.doubt(scene.version.build.id)
        assert isinstance(await asyncio.wait_for(task, 20), Drop)
    assert script.cancelled


@pytest.mark.parametrize("error", [None, BuildFailed("no")])
async def test_a_build_cancelled_at_its_end_stays_cancelled(
    scene: Scene, error: BuildFailed | None
) -> None:
    script = Script()
    async with scene.running(script) as task:
        async with scene.work.transaction() as tx:
            await builds_cancel(tx, scene.version.deployment.id)
        script.finish(error)
        assert isinstance(await task, Drop)
    assert (await scene.build()).state is BuildState.CANCELLED
    assert await scene.said() == ["build.started", "build.cancelled"]
    assert await scene.artifacts() == 0


async def test_a_shutdown_gives_the_build_to_the_next_builder_at_once(scene: Scene) -> None:
    first, second = Script("first 1", "first 2"), Script("second")
    async with scene.running(first) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert first.cancelled
    assert (await scene.build()).lease_until is None
    second.finish()
    assert await scene.handle(second) == Done()
    assert await scene.log() == ["first 1", "first 2", "interrupted", "second"]
    assert await scene.said() == ["build.started", "build.succeeded"]


@pytest.mark.parametrize("error", [TimedOut("the host is slow"), RuntimeError("a fault of ours")])
async def test_an_error_that_is_not_the_repositorys_gives_the_build_back(
    scene: Scene, error: Exception
) -> None:
    script = Script("one")
    script.finish(error)
    with pytest.raises(type(error)):
        await scene.handle(script)
    build = await scene.build()
    assert build.lease_until is None
    assert build.state is BuildState.RUNNING
    assert await scene.log() == ["one"]


async def test_a_directory_that_is_in_use_is_tried_again_later(scene: Scene) -> None:
    script = Script()
    script.finish(Conflict("bld is in use"))
    assert await scene.handle(script) == Later(40, "bld is in use")
    assert (await scene.build()).lease_until is None


async def test_a_failed_build_says_why_in_its_row_its_event_and_its_log(scene: Scene) -> None:
    script = Script("one")
    script.finish(BuildFailed("It does not compile."))
    assert await scene.handle(script) == Done()
    build = await scene.build()
    assert build.state is BuildState.FAILED
    assert (build.error_code, build.error_detail) == ("build_failed", "It does not compile.")
    assert await scene.log() == ["one", "Build failed (build_failed): It does not compile."]
    assert await scene.said() == ["build.started", "build.failed"]


async def test_a_line_that_a_table_does_not_take_does_not_lose_the_others(scene: Scene) -> None:
    script = Script("a\x00b", "x" * 50_000, "end")
    script.finish()
    assert await scene.handle(script) == Done()
    log = await scene.log()
    assert log == ["a\N{REPLACEMENT CHARACTER}b", "x" * 8000, "end"]


async def test_a_real_commit_is_built(scene: Scene, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "repository")
    sha = repository.commit({"index.html": "hello"})
    async with changed(scene.work, Build, scene.version.build.id) as build:
        build.clone_url, build.commit_sha = repository.url, sha
    bench = Workbench(tmp_path / "data")
    assert await scene.handle(bench.pipeline(work=scene.work)) == Done()
    (artifact,) = await every(scene.work, Artifact)
    assert artifact.manifest["builder"] == "static"
    assert (bench.root / "blobs" / artifact.digest[:2] / artifact.digest).is_file()
    assert any(sha[:12] in line for line in await scene.log())
    assert bench.leftovers() == []


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_build_knows_whether_its_code_is_trusted(
    work: UnitOfWork, *, trusted: bool
) -> None:
    scene = await scene_of(work, trusted=trusted)
    script = Script()
    script.finish()
    assert await scene.handle(script) == Done()
    assert script.asked is not None
    assert script.asked.trusted is trusted
