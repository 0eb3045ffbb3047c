"""One instance's life on its node, with programs in this process and a clock that is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.envelope import unwrap
from events.instances import InstanceSpec
from events.states import InstanceState
from events.streams import EVENTS, LOGS
from node.journal import Entry
from tests.contracts.runtime import instance_spec
from tests.support.eventually import eventually
from tests.support.workshop import SECRET, World, worlds
from zeitwork.errors import ArtifactCorrupt, NotFound, Unavailable, ZeitworkError

READY, STARTING = InstanceState.READY, InstanceState.STARTING
FAILED, STOPPED = InstanceState.FAILED, InstanceState.STOPPED


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with worlds(tmp_path) as world:
        yield world


async def test_what_answers_is_ready_at_its_address(world: World) -> None:
    instance = world.instance()
    await world.states(READY)
    (said,) = world.reports()
    assert (said.host, said.port) == ("10.0.0.1", world.starts[0].port)
    entry = world.journal.find("ins_1")
    assert entry is not None
    assert entry.ever_ready
    await instance.stop()
    await world.states(READY, STOPPED)
    assert world.journal.find("ins_1") is None
    assert list((world.directory / "runs").iterdir()) == []


async def test_sequences_grow_from_report_to_report(world: World) -> None:
    instance = world.instance()
    await world.states(READY)
    await instance.stop()
    await world.states(READY, STOPPED)
    first, second = world.reports()
    assert first.sequence < second.sequence


async def test_what_never_answers_fails_after_its_time(world: World) -> None:
    world.healthy = False
    instance = world.instance(health_timeout_seconds=5.0)
    await world.states(FAILED)
    (said,) = world.reports()
    assert said.code == "health_check_failed"
    assert said.detail is not None
    assert "within 5 s" in said.detail
    assert said.detail.endswith("start 1")
    await instance.stop()


async def test_what_ends_before_it_was_ready_fails_with_its_code(world: World) -> None:
    world.healthy = False
    instance = world.instance(command="exit", health_timeout_seconds=1e6)
    await world.states(FAILED)
    (said,) = world.reports()
    assert (said.code, said.exit_code) == ("start_command_exited", 3)
    assert said.detail is not None
    assert said.detail.endswith("going down")
    await instance.stop()


async def test_what_has_been_ready_is_restarted_when_it_ends(world: World) -> None:
    instance = world.instance()
    await world.states(READY)
    world.crash.set()
    await world.states(READY, STARTING, READY)
    assert world.starts[0].port != world.starts[1].port
    await instance.stop()


async def test_what_ends_while_its_agent_is_away_is_out_of_traffic_at_once(world: World) -> None:
    instance = world.instance()
    await world.states(READY)
    await instance.leave()
    entry = world.journal.find("ins_1")
    assert entry is not None
    assert entry.handle is not None
    await world.runtime.stop(entry.handle, grace_seconds=1)
    again = world.instance(entry)
    await world.states(READY, STARTING, READY)
    await again.stop()


async def test_what_runs_on_is_adopted_and_not_started_again(world: World) -> None:
    instance = world.instance()
    await world.states(READY)
    await instance.leave()
    again = world.instance(world.journal.find("ins_1"))
    await world.states(READY, READY)
    assert len(world.starts) == 1
    await again.stop()


async def test_halting_keeps_the_memory_of_having_been_ready(world: World) -> None:
    instance = world.instance()
    await world.states(READY)
    await instance.halt()
    entry = world.journal.find("ins_1")
    assert entry is not None
    assert (entry.handle, entry.ever_ready) == (None, True)


async def test_an_outage_of_the_control_plane_is_waited_out(world: World) -> None:
    world.outages = [Unavailable("away") for _ in range(8)]
    instance = world.instance()
    await world.states(READY)
    assert world.fetches == 9
    await instance.stop()


@pytest.mark.parametrize("error", [ArtifactCorrupt("no match"), NotFound("no such artifact")])
async def test_an_artifact_that_will_not_come_fails_it(world: World, error: ZeitworkError) -> None:
    world.outages = [error]
    instance = world.instance()
    await world.states(FAILED)
    assert world.reports()[0].code == error.code
    await instance.stop()


async def test_a_failure_says_no_more_than_the_control_plane_keeps(world: World) -> None:
    world.healthy = False
    command = "exit" + " " * 100_000
    instance = world.instance(command=command, health_timeout_seconds=1e6)
    await world.states(FAILED)
    detail = world.reports()[0].detail
    assert detail is not None
    assert len(detail) < 4_000
    await instance.stop()


async def test_its_reports_belong_to_the_deployments_chain_and_trace(world: World) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    spec: InstanceSpec = instance_spec(correlation_id="evt_cause", traceparent=traceparent)
    instance = world.instance(Entry(spec=spec))
    await world.states(READY)
    await instance.stop()
    await world.states(READY, STOPPED)
    for stored in world.bus.stored(EVENTS.name):
        said = unwrap(stored.headers, stored.data)
        assert (said.correlation_id, said.actor) == ("evt_cause", "node:nod_1")
        assert said.traceparent is not None
        assert said.traceparent.split("-")[1] == "0af7651916cd43dd8448eb211c80319c"


async def test_variables_are_fetched_once_and_are_there_after_every_restart(world: World) -> None:
    instance = world.instance()
    await world.states(READY)
    world.crash.set()
    await world.states(READY, STARTING, READY)
    assert [each.env["TOKEN"] for each in world.starts] == [SECRET, SECRET]
    assert world.starts[0].env["HOST"] == "own"
    assert world.asked_for_variables == 1
    await instance.stop()


async def test_an_adopted_instance_restarts_with_its_variables_from_the_journal(
    world: World,
) -> None:
    await world.instance().leave()
    instance = world.instance()
    await world.states(READY)
    await instance.leave()
    kept = world.journal.find("ins_1")
    assert kept is not None
    assert SECRET not in repr(kept)
    again = world.instance(kept)
    world.crash.set()
    await eventually(lambda: len(world.starts) > 1)
    assert world.starts[-1].env["TOKEN"] == SECRET
    await again.stop()


async def test_a_value_is_masked_in_the_report_of_a_failure(world: World) -> None:
    world.healthy = False
    instance = world.instance(command="tell")
    await world.states(FAILED)
    (said,) = world.reports()
    assert said.detail is not None
    assert "token is ***" in said.detail
    await instance.stop()
    assert SECRET not in "".join(str(each) for each in world.bus.stored(LOGS.name))
