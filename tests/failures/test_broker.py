"""NATS dies, stands still, loses its disk or is full; the outbox and the log make up for it."""

from __future__ import annotations

import pytest

from events import topology
from tests.failures.platform import Platform
from tests.support.cli import Cli
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(330)


async def test_nats_is_killed_three_times_under_load(platform: Platform) -> None:
    await platform.start_all()
    async with platform.sender.load(per_second=10, most=30):
        for death in (1, 2, 3):
            await platform.sender.until_acknowledged(4 * death)
            await platform.kill_server(platform.nats)
            await platform.start_server(platform.nats)
    await platform.settle()
    await platform.goes_live("after three deaths of NATS")


async def test_a_broker_that_lost_its_disk_is_filled_again_from_the_log(
    platform: Platform,
) -> None:
    await platform.start_all()
    await platform.goes_live("before")
    await platform.wipe_nats()
    await eventually(platform.has_its_topology, timeout=30)
    async with platform.sender.load(per_second=10, most=8):
        refilled = await Cli(platform.env)("events", "refill", "--json")
    assert refilled.code == 0, refilled.err
    assert refilled.json["published"] > 0
    await platform.settle()
    await platform.goes_live("after the loss of a disk")


async def test_what_a_node_had_said_is_said_again_when_the_broker_lost_it_unheard(
    platform: Platform,
) -> None:
    """The reports of nodes are in no event log: a refill does not bring them back."""
    await platform.start_all()
    await platform.goes_live("before")
    platform.processes["consumers"].kill()
    await platform.restart_instances()
    await platform.wipe_nats()
    await platform.start("consumers")
    refilled = await Cli(platform.env)("events", "refill", "--json")
    assert refilled.code == 0, refilled.err
    await platform.settle()  # every ready row's address answers
    await platform.goes_live("after its reports were lost")


async def test_a_full_work_queue_holds_up_nothing_else_and_loses_nothing(
    platform: Platform,
) -> None:
    """Builds wait in the outbox while nobody builds, and facts pass by them."""
    await platform.start("api")
    await platform.start("consumers", "consumers", "--only", "github,deployments,routing")
    async with topology.jetstream(platform.nats.url.get_secret_value()) as js:
        config = (await js.stream_info("ZW_JOBS")).config
        await js.update_stream(config, max_msgs=1)
        for number in range(1, 5):
            platform.sender.push(f"{number:040x}")
        await platform.sender.finish()
        await eventually(platform.waits_for_room, timeout=30)
        info = await js.stream_info("ZW_JOBS")
        assert info.state.messages == 1
        await platform.replace("consumers")
        await platform.start("node")
        await platform.settle()
        await js.update_stream(config)
    await platform.goes_live("after a jam")


@pytest.mark.slow
async def test_nats_stands_still_for_twenty_seconds_under_load(platform: Platform) -> None:
    """Two unanswered pings end a connection; messages in hand come due meanwhile."""
    await platform.start_all()
    async with platform.sender.load(per_second=5, most=100):
        await platform.sender.until_acknowledged(5)
        await platform.freeze_server(platform.nats, seconds=20)
    await platform.settle()
    await platform.goes_live("after a standstill")
