"""The queue of builds against the clock: many builds on few slots, a cancellation, a long log.

`python -m tests.benchmarks.builds`; real NATS and PostgreSQL, each build a program that sleeps, so
that what is measured is the queue and not the machine's speed at building. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from consumers.builds.cancellations import CancellationListener
from consumers.builds.claims import Place
from consumers.builds.handler import Builder
from consumers.builds.log_packer import LogPacker
from consumers.builds.log_writer import LogWriter
from consumers.builds.manifest import Manifest
from consumers.builds.pipeline import BuildRequest, BuildResult, Pipeline
from consumers.registry import bindings
from consumers.runtime import ConsumerRuntime
from db import wake
from db.engine import Database
from db.models import Build
from db.queries.artifacts import blobs_note
from db.queries.deployments import deployment_cancel
from db.session import UnitOfWork
from events.builds import Stream
from events.memory import MemoryBus
from events.nats_bus import NatsBus
from events.states import BuildState
from tests.benchmarks import figures
from tests.benchmarks.stage import Stage, stage
from tests.support.builds import GitRepository, Workbench, alive_with
from tests.support.factories import (
    MovableClock,
    add_organisation,
    add_site,
    add_version,
    changed,
    fetch,
)
from tests.support.running import backbone, wiring
from zeitwork import clock, ids, subprocesses
from zeitwork.blobs import Blob

_DEADLINE_SECONDS = 600.0
_POLL_SECONDS = 0.05
_LINES = 100_000


class Sleeper:
    """Stands for the pipeline: a program that takes its time; counts how many run at once."""

    def __init__(self, work: UnitOfWork, seconds: float) -> None:
        self._work = work
        self.most = 0
        self.ended = 0
        self.first: float | None = None
        self.last = 0.0
        self.busy = 0.0  # seconds that all builds took together
        self._seconds = seconds
        self._running = 0

    async def build(self, request: BuildRequest, _log: Any) -> BuildResult:
        began = time.perf_counter()
        self.first = self.first or began
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            await subprocesses.run(["sleep", str(self._seconds)], timeout=60)
        finally:
            self._running -= 1
        self.ended += 1
        self.last = time.perf_counter()
        self.busy += self.last - began
        digest = request.build_id[-26:].ljust(64, "0")
        blob = Blob(digest, 1)
        async with self._work.transaction() as tx:
            await blobs_note(tx.session, [blob])
        return BuildResult(blob, Manifest(builder="static", processes={"web": "run"}))


async def queue(found: Stage, *, builds: int, slots: int, seconds: float, processes: int) -> None:
    """Print how long the builds took, beside the least that they can take."""
    database = Database(SecretStr(found.database_url), application="bench", pool_size=20)
    work = UnitOfWork(database)
    sleeper = Sleeper(work, seconds)
    place = Place(f"bench-{processes}", slots, per_organisation=builds)
    organisation_id = await add_organisation(work)
    projects = [
        await add_site(work, organisation_id=organisation_id, newer_commit="all") for _ in range(10)
    ]
    for number in range(builds):
        await add_version(work, projects[number % len(projects)], number)
    try:
        async with AsyncExitStack() as stack:
            builder = Builder(
                work=work, bus=MemoryBus(), pipeline=cast("Pipeline", sleeper), place=place
            )
            changes = {"builder": builder, "build_slots": slots}
            await stack.enter_async_context(backbone(found.nats_url, work, ("builds",), **changes))
            for _ in range(processes - 1):
                wired = replace(wiring(work, MemoryBus()), builder=builder, build_slots=slots)
                runtime = ConsumerRuntime(found.nats_url, bindings(wired, ("builds",)))
                await runtime.start()
                stack.push_async_callback(runtime.stop)
            async with asyncio.timeout(_DEADLINE_SECONDS):
                while sleeper.ended < builds:
                    await asyncio.sleep(_POLL_SECONDS)
    finally:
        await database.stop()
    assert sleeper.first is not None
    # A busy machine makes each build longer; that is not the queue's.
    took, ideal = sleeper.last - sleeper.first, sleeper.busy / slots
    figures.heading(
        f"{builds} builds of {seconds:g} s, {slots} slots, pulled by {processes} process(es)"
    )
    figures.line("most at once", str(sleeper.most), f"goal ≤ {slots}")
    figures.line(
        "first begin to last end", f"{took:.2f} s", f"ideal, of what the builds took: {ideal:.2f} s"
    )
    figures.line("over the ideal", f"{took / ideal - 1:.1%}", "goal ≤ 10 %")


async def cancellation(found: Stage, directory: Path) -> None:
    """Print how long after the commit of its cancellation nothing of a build runs any more."""
    mark = f"mark-{ids.token(9)}"
    repository = GitRepository(directory / "repository")
    stubborn = f"env -i setsid sh -c 'trap \"\" TERM; sleep 600; : {mark}' & sleep 600"
    package = '{"scripts": {"build": "sh build.sh", "start": "node x.js"}}'
    sha = repository.commit({"package.json": package, "build.sh": stubborn})
    figures.heading("A cancellation, from its commit to the end of the last process")
    for sandbox in ("auto", "off"):
        database = Database(SecretStr(found.database_url), application="bench", pool_size=20)
        bus = NatsBus(found.nats_url, name="bench")
        await bus.start()
        work = UnitOfWork(database, wake=wake.through(bus))
        version = await add_version(work, await add_site(work))
        async with changed(work, Build, version.build.id) as build:
            build.clone_url, build.commit_sha = repository.url, sha
        pipeline = Workbench(directory / sandbox).pipeline(sandbox=cast("Any", sandbox))
        builder = Builder(work=work, bus=bus, pipeline=pipeline)
        listener = CancellationListener(bus, builder.doubt)
        try:
            await listener.start()
            async with backbone(found.nats_url, work, ("builds",), builder=builder):
                async with asyncio.timeout(60):
                    while not alive_with(mark):
                        await asyncio.sleep(_POLL_SECONDS)
                async with work.transaction() as tx:
                    await deployment_cancel(tx, version.deployment.id, code="bench", detail="")
                began = time.perf_counter()
                async with asyncio.timeout(60):
                    while await asyncio.to_thread(alive_with, mark):
                        await asyncio.sleep(0.005)
                took = time.perf_counter() - began
        finally:
            await listener.stop()
            await bus.stop()
            await database.stop()
        figures.line(f"sandbox {sandbox}", f"{took * 1000:.0f} ms", "goal < 2000 ms")


async def log(found: Stage) -> None:
    """Print how fast a long log is stored and packed, and how small it becomes."""
    database = Database(SecretStr(found.database_url), application="bench", pool_size=20)
    work = UnitOfWork(database)
    try:
        version = await add_version(work, await add_site(work))
        async with changed(work, Build, version.build.id) as build:
            build.state, build.lease_token = BuildState.RUNNING, "bench"
        writer = LogWriter(version.build, token="bench", work=work, bus=MemoryBus(), last_line=0)
        await writer.start()
        began = time.perf_counter()
        for number in range(_LINES):
            room = writer.write(f"[{number}] compiling module {number % 97}", Stream.STDOUT)
            if room is not None:
                await room
        await writer.stop()
        stored = time.perf_counter() - began
        async with changed(work, Build, version.build.id) as build:
            build.state, build.finished_at = BuildState.SUCCEEDED, clock.now()
        began = time.perf_counter()
        with clock.using(MovableClock()) as later:
            later.advance(120)
            while not (await fetch(work, Build, version.build.id)).log_packed:
                await LogPacker(work).round()
        packed = time.perf_counter() - began
    finally:
        await database.stop()
    figures.heading(f"A log of {_LINES} lines")
    figures.line("stored", f"{stored:.2f} s", f"{_LINES / stored:.0f} lines/s")
    figures.line("packed", f"{packed:.2f} s")


async def _main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="zeitwork-bench-") as folder:
        directory = Path(folder)
        figures.machine(directory)
        async with stage(directory / "servers") as found:
            facts = {"builds": options.builds, "slots": options.slots, "seconds": options.seconds}
            await queue(found, **facts, processes=1)
            await queue(found, **facts, processes=2)
            await cancellation(found, directory)
            await log(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", type=int, default=50)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a build takes")
    asyncio.run(_main(parser.parse_args()))
