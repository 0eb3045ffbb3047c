"""The node agent and its broker: away at the start, there later, and without its streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.embedded.nats import NatsServer
from db.session import UnitOfWork
from events import topology
from events.states import InstanceState
from events.streams import EVENTS, LOGS
from producers.api.routes import PREFIX
from tests.support import agents
from tests.support.agents import Agent, Plane, who
from tests.support.eventually import eventually
from tests.support.servers import ServerHost

READY = InstanceState.READY


@pytest.fixture
async def plane(work: UnitOfWork, own_nats_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    async with agents.plane(work, own_nats_url, tmp_path / "plane") as plane:
        yield plane


@pytest.fixture
async def agent(plane: Plane, own_nats_url: str, tmp_path: Path) -> AsyncIterator[Agent]:
    api_url = plane.api.base.removesuffix(PREFIX)
    with agents.agent(tmp_path / "agent", api_url=api_url, nats_url=own_nats_url) as agent:
        yield agent


async def test_an_agent_starts_without_nats_and_connects_when_it_comes(
    plane: Plane, agent: Agent, own_nats_server: NatsServer, server_host: ServerHost
) -> None:
    node = await plane.node(agent.name)
    kept = await plane.start(node, "python app.py 200")
    row = await plane.until(kept, READY)
    me = await who(row.port)
    agent.kill()
    own_nats_server.kill()
    await asyncio.to_thread(server_host.run, own_nats_server.wait())
    new = await plane.place(node, "python app.py 200")

    agent.restart()
    await eventually(lambda: "instance adopted" in agent.log.read_text(), timeout=30)
    await eventually((agent.data / "instances" / new / "output.log").exists, timeout=30)
    assert await agent.why_not_ready() == "bus: NATS was not reached yet"
    assert (await plane.row(new)).state is InstanceState.PENDING

    await asyncio.to_thread(server_host.run, own_nats_server.start())
    await plane.until(new, READY, timeout=30)
    await eventually(lambda: _ready(agent))
    assert await who(row.port) == me
    assert agent.process.poll() is None


async def test_a_node_makes_its_streams_anew_and_hears_of_changes_again(
    plane: Plane, agent: Agent, own_nats_url: str
) -> None:
    """Nobody else is there to do it."""
    node = await plane.node(agent.name)
    await plane.until(await plane.start(node, "python app.py 200"), READY)

    async with topology.jetstream(own_nats_url) as js:
        for stream in (EVENTS, LOGS):
            await js.delete_stream(stream.name)

        async def back() -> bool:
            return await topology.plan(js, streams=[EVENTS, LOGS], durables=[]) == []

        await eventually(back)
    instance_id = await plane.start(node, "python app.py 200")
    # A report that the lost stream swallowed is said again at the second look, ten seconds apart.
    await plane.until(instance_id, READY, timeout=40)
    assert "topology restored" in agent.log.read_text()
    assert await agent.why_not_ready() is None


async def _ready(agent: Agent) -> bool:
    why = await agent.why_not_ready()
    assert why is None, why
    return True
