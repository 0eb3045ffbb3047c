"""What a build may use, and that nothing of it outlives its cancellation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from typing_extensions import override

from consumers.builds.cancellations import CancellationListener
from consumers.builds.failures import BuildOutOfDisk
from consumers.builds.handler import Builder
from consumers.builds.plan import Command
from consumers.outcomes import Drop
from db.models import Build, Deployment
from db.queries.deployments import deployment_cancel
from db.session import UnitOfWork
from events import subjects
from events.builds import BuildCancelled, BuildRequested
from events.bus import Message
from events.envelope import unwrap
from events.memory import MemoryBus
from events.states import BuildState, DeploymentState
from tests.contracts.builder import Bench
from tests.integration.test_builds_pipeline import node, script
from tests.support.builds import GitRepository, Workbench, alive_with, why_no_sandbox
from tests.support.eventually import eventually
from tests.support.factories import (
    add_site,
    add_version,
    changed,
    envelope,
    events_of,
    fetch,
)
from zeitwork import cgroups, clock, ids
from zeitwork.errors import BuildCommandFailed, BuildOutOfMemory

limited = pytest.mark.skipif(
    not {"memory", "pids"} <= cgroups.here().parents.keys(),
    reason=f"no control groups on this host: {cgroups.here().reason}",
)
Sandbox = Literal["auto", "off"]
# Leaves its session twice over, forgets its environment, and does not listen.
STUBBORN = (
    'env -i setsid sh -c \'trap "" TERM HUP INT; '
    'setsid sh -c "trap \\"\\" TERM HUP INT; sleep 600; : {mark}" & sleep 600; : {mark}\' &'
    " sleep 600"
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path / "data")
    yield bench
    assert bench.leftovers() == []


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repository")


@pytest.fixture(params=["auto", "off"])
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    if request.param == "auto" and (reason := await why_no_sandbox(tmp_path)):
        pytest.skip(f"no sandbox on this host: {reason}")
    chosen: Sandbox = request.param
    return chosen


@node
@limited
async def test_a_build_that_needs_too_much_memory_says_so(
    bench: Workbench, repository: GitRepository, sandbox: Sandbox
) -> None:
    eat = "const a = []; for (let i = 0; i < 64; i++) a.push(Buffer.alloc(16 << 20, 1))"
    sha = repository.commit(script(f"node -e '{eat}'"))
    pipeline = bench.pipeline(sandbox=sandbox, memory_mib=300)
    with pytest.raises(BuildOutOfMemory, match="more than the 300 MiB of memory"):
        await bench.build(pipeline, repository.url, sha)


@node
async def test_a_program_that_says_it_ran_short_is_believed_where_nothing_counts(
    bench: Workbench, repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = cgroups.Hierarchy({}, reason="a host without them")
    monkeypatch.setattr(cgroups, "here", lambda: nothing)
    sha = repository.commit(script("echo 'MemoryError' >&2; exit 1"))
    with pytest.raises(BuildOutOfMemory):
        await bench.build(bench.pipeline(sandbox="off"), repository.url, sha)
    assert "This host does not limit memory and cpu and pids of a whole build" in bench.log


@node
@limited
async def test_a_build_that_starts_processes_without_end_is_stopped(
    bench: Workbench, repository: GitRepository, sandbox: Sandbox
) -> None:
    mark = f"mark-{ids.token(9)}"
    bomb = f"for i in $(seq 300); do sh -c 'sleep 600; : {mark}' & done; echo all of them"
    sha = repository.commit(script(bomb))
    with pytest.raises(BuildCommandFailed):
        await bench.build(bench.pipeline(sandbox=sandbox, processes=100), repository.url, sha)
    assert "all of them" not in bench.log
    assert alive_with(mark) == []


@node
async def test_a_build_that_fills_the_disk_with_small_files_is_stopped_with_all_it_started(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    mark = f"mark-{ids.token(9)}"
    fill = f"i=0; while :; do head -c 65536 /dev/zero > f$i; i=$((i + 1)); done; : {mark}"
    bench = Bench(tmp_path, sandboxed=sandbox == "auto")
    workshop = replace(bench.workshop, most_disk_bytes=4 << 20)
    with pytest.raises(BuildOutOfDisk, match="wrote more than 4 MiB and was stopped"):
        await workshop.run(Command(("sh", "-c", f"sh -c '{fill}' & wait")), {})
    assert alive_with(mark) == []


@node
@limited
async def test_no_group_stays_when_a_build_has_ended(
    bench: Workbench, repository: GitRepository
) -> None:
    sha = repository.commit(script("cat /proc/self/cgroup"))
    await bench.build(bench.pipeline(sandbox="off"), repository.url, sha, build_id="bld-grouped")
    assert any("/zeitwork/bld-grouped" in line for line in bench.lines)
    assert cgroups.left("bld-grouped", within=cgroups.here()).folders == ()


@node
@limited
async def test_a_cancelled_build_takes_the_stubborn_along(
    bench: Workbench, repository: GitRepository, sandbox: Sandbox
) -> None:
    mark = f"mark-{ids.token(9)}"
    sha = repository.commit(script(STUBBORN.format(mark=mark)))
    pipeline = bench.pipeline(sandbox=sandbox)
    building = asyncio.ensure_future(bench.build(pipeline, repository.url, sha))
    await eventually(lambda: len(alive_with(mark)) >= 2, timeout=30)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert alive_with(mark) == []


class Patient(clock.SystemClock):
    """Never comes to the next renewal of a lease."""

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds if seconds < 10 else 600)


@node
async def test_a_builder_hears_of_a_cancellation_and_does_not_wait_for_its_lease(
    work: UnitOfWork, bench: Workbench, repository: GitRepository
) -> None:
    mark = f"mark-{ids.token(9)}"
    version = await add_version(work, await add_site(work))
    async with changed(work, Build, version.build.id) as build:
        build.clone_url = repository.url
        build.commit_sha = repository.commit(script(f"sh -c 'sleep 600; : {mark}'"))
    bus = MemoryBus()
    builder = Builder(work=work, bus=bus, pipeline=bench.pipeline(sandbox="off"))
    listener = CancellationListener(bus, builder.doubt)
    await listener.start()
    request = BuildRequested(build_id=version.build.id, deployment_id=version.deployment.id)
    with clock.using(Patient()):
        said = envelope(request, subject=version.build.id)
        building = asyncio.ensure_future(builder.build_requested(said))
        await eventually(lambda: alive_with(mark), timeout=30)
        async with work.transaction() as tx:
            assert await deployment_cancel(
                tx, version.deployment.id, code="cancelled", detail="ann cancelled it"
            )
        (row,) = await events_of(work.database, type_=BuildCancelled.event_type)
        told = unwrap(row.headers, row.payload)
        await bus.publish([Message.of(told, subjects.of(told))])
        assert await asyncio.wait_for(building, 30) == Drop("the build was cancelled or taken over")
    await listener.stop()
    assert alive_with(mark) == []
    assert (await fetch(work, Build, version.build.id)).state is BuildState.CANCELLED
    deployment = await fetch(work, Deployment, version.deployment.id)
    assert deployment.state is DeploymentState.CANCELLED
    assert json.loads(row.payload)["build_id"] == version.build.id
