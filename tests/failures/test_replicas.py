"""Consumers come and go under load; a builder that was taken for dead comes back."""

from __future__ import annotations

import pytest

from consumers.registry import GROUPS
from db.models import Build
from events import topology
from events.states import BuildState
from tests.failures.platform import Platform
from tests.support.eventually import eventually
from tests.support.factories import every

pytestmark = pytest.mark.timeout(330)
_ALL_BUT_BUILDS = ",".join(group for group in GROUPS if group != "builds")


async def test_a_replica_is_added_and_the_first_one_killed_under_load(
    platform: Platform,
) -> None:
    """The first one dies with an event in hand, whose effects are written and not committed."""
    await platform.start("api")
    await platform.start("node")
    first = await platform.start("consumers", failpoint="handler.applied:40:stop")
    async with platform.sender.load(per_second=10, most=150):
        await platform.sender.until_acknowledged(4)
        second = await platform.start("second", "consumers")
        await eventually(lambda: second.said("message handled") >= 3, timeout=30)
        await first.until_stopped()
        first.kill()
    await platform.settle()
    await platform.goes_live("by the second replica alone")


async def test_a_build_whose_builder_dies_is_done_by_another_on_the_same_machine(
    platform: Platform,
) -> None:
    """It finds the message, the lease and the directory of the dead one."""
    await platform.start("api")
    await platform.start("node")
    await platform.start("facts", "consumers", "--only", _ALL_BUT_BUILDS)
    first = await platform.start(
        "first", "consumers", "--only", "builds", failpoint="build.built:1:stop"
    )
    platform.sender.push(platform.repository.commit({"index.html": "begun twice"}))
    await first.until_stopped()
    await platform.start("next", "consumers", "--only", "builds")
    first.kill()
    (build,) = await every(platform.work, Build)
    assert (platform.data / "builds" / build.id).is_dir()
    assert build.state is BuildState.RUNNING
    await platform.settle()
    (build,) = await every(platform.work, Build)
    assert build.state is BuildState.SUCCEEDED
    await platform.goes_live("by the next builder")


async def test_a_builder_that_was_taken_for_dead_changes_nothing_when_it_comes_back(
    platform: Platform,
) -> None:
    """It stands still with a finished artifact until another one has its build."""
    await platform.start("api")
    await platform.start("node")
    await platform.start("facts", "consumers", "--only", _ALL_BUT_BUILDS)
    late = await platform.start(
        "late", "consumers", "--only", "builds", failpoint="build.stored:1:stop"
    )
    platform.sender.push(platform.repository.commit({"index.html": "built twice"}))
    await late.until_stopped()
    next_one = platform.launch(
        "next", "consumers", "--only", "builds", failpoint="build.stored:1:stop"
    )
    await next_one.until_ready()
    async with topology.jetstream(platform.nats.url.get_secret_value()) as js:
        await platform.hurry(js)
    await next_one.until_stopped()

    late.resume()
    await late.until_said("message dropped")
    (build,) = await every(platform.work, Build)
    assert build.state is BuildState.RUNNING

    next_one.resume()
    await platform.settle()
    (build,) = await every(platform.work, Build)
    assert build.state is BuildState.SUCCEEDED
