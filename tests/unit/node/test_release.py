"""A release command's one run on its node, whatever becomes of the agent meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from events.instances import InstanceReported
from events.states import InstanceState
from node.journal import Entry
from node.runtimes.base import Handle
from tests.contracts.runtime import instance_spec
from tests.support.eventually import eventually
from tests.support.workshop import SECRET, World, worlds
from zeitwork import clock
from zeitwork.errors import Unavailable

STARTING, STOPPED, FAILED = InstanceState.STARTING, InstanceState.STOPPED, InstanceState.FAILED


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with worlds(tmp_path) as world:
        yield world


async def last(world: World, state: InstanceState) -> InstanceReported:
    """The newest report, once it is of that state."""

    def said() -> InstanceReported:
        reports = world.reports()
        assert reports
        assert reports[-1].state is state, reports
        return reports[-1]

    return await eventually(said)


def failures(world: World) -> list[InstanceReported]:
    return [each for each in world.reports() if each.state is FAILED]


def kept(world: World) -> Entry:
    entry = world.journal.find("ins_1")
    assert entry is not None
    return entry


async def test_it_runs_with_its_variables_and_without_a_port_and_says_how_it_ended(
    world: World,
) -> None:
    release = world.release()
    await world.states(STARTING)
    world.done.set()
    said = await last(world, STOPPED)
    assert (said.exit_code, said.host, said.port) == (0, None, None)
    (run,) = world.starts
    assert run.env["TOKEN"] == SECRET
    assert "PORT" not in run.env
    await release.stop()
    await world.states(STARTING, STOPPED, STOPPED)
    assert [each.exit_code for each in world.reports()] == [None, 0, 0]
    assert world.journal.find("ins_1") is None
    assert list((world.directory / "journal").iterdir()) == []


async def test_one_that_fails_says_its_last_words_and_what_to_do(world: World) -> None:
    release = world.release(command="exit")
    said = await last(world, FAILED)
    assert (said.code, said.exit_code) == ("release_failed", 3)
    assert said.detail is not None
    first, *_, words, advice = said.detail.splitlines()
    assert "`exit` ended with exit code 3" in first
    assert words == "going down"
    assert "deploy again" in advice
    await release.stop()


async def test_one_that_lasts_too_long_is_stopped(world: World) -> None:
    release = world.release(limit_seconds=1)
    said = await last(world, FAILED)
    assert said.code == "release_timed_out"
    assert world.starts[0].terminated.is_set()
    await release.stop()


async def test_its_time_runs_on_while_no_agent_looks(world: World) -> None:
    release = world.release(limit_seconds=3600)
    await world.states(STARTING)
    await release.leave()
    entry = kept(world)
    assert entry.started_at is not None
    started_at = clock.now() - timedelta(seconds=3600)
    again = world.release(entry.model_copy(update={"started_at": started_at}))
    assert (await last(world, FAILED)).code == "release_timed_out"
    await again.stop()


async def test_one_that_runs_on_is_adopted_and_not_run_again(world: World) -> None:
    release = world.release()
    await world.states(STARTING)
    await release.leave()
    again = world.release(kept(world))
    world.done.set()
    assert (await last(world, STOPPED)).exit_code == 0
    assert len(world.starts) == 1
    await again.stop()


async def test_one_that_ended_while_no_agent_looked_is_asked_how(world: World) -> None:
    release = world.release()
    await world.states(STARTING)
    await release.leave()
    entry = kept(world)
    assert entry.handle is not None
    world.done.set()
    await world.runtime.wait(entry.handle)
    again = world.release(entry)
    assert (await last(world, STOPPED)).exit_code == 0
    assert len(world.starts) == 1
    await again.stop()


async def test_one_whose_end_nobody_saw_is_not_taken_for_a_success(world: World) -> None:
    gone = Handle(
        instance_id="ins_1", pid=999, birth="", mode="memory", port=None, run=world.directory
    )
    entry = Entry(spec=instance_spec(kind="release", command="migrate"), handle=gone)
    release = world.release(entry)
    said = await last(world, FAILED)
    assert said.code == "release_lost"
    assert "not known whether it finished" in (said.detail or "")
    assert world.starts == []
    await release.stop()


async def test_one_that_was_begun_is_never_begun_again_even_if_its_entry_is_gone(
    world: World,
) -> None:
    release = world.release()
    await world.states(STARTING)
    await release.leave()
    again = world.release()  # all that is left is the note that it began
    said = await last(world, FAILED)
    assert (said.code, said.exit_code) == ("release_lost", None)
    assert len(world.starts) == 1
    await again.stop()
    await release.stop()


async def test_an_end_that_nobody_heard_of_is_said_again(world: World) -> None:
    release = world.release(command="exit")
    await last(world, FAILED)
    await release.leave()
    again = world.release(kept(world))
    await eventually(lambda: len(failures(world)) == 2)
    first, second = failures(world)
    assert first.model_copy(update={"sequence": second.sequence}) == second
    await again.stop()


async def test_one_that_is_stopped_has_not_ended_well_whatever_it_says(world: World) -> None:
    release = world.release()
    await world.states(STARTING)
    await release.stop()
    said = await last(world, STOPPED)
    assert world.starts[0].terminated.is_set()
    assert said.exit_code is None


async def test_an_outage_before_it_begins_is_waited_out(world: World) -> None:
    world.outages = [Unavailable("away") for _ in range(3)]
    release = world.release()
    world.done.set()
    assert (await last(world, STOPPED)).exit_code == 0
    assert (world.fetches, len(world.starts)) == (4, 1)
    await release.stop()
