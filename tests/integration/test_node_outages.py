"""The node agent when it is killed, told twice, or cut off from the API or from NATS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path

import aiohttp
import pytest

from db.models import Deployment, Instance, Node
from db.session import UnitOfWork
from events import subjects
from events.states import InstanceState
from tests.support import agents
from tests.support.agents import Agent, Plane, Ways, processes_of, silent, who
from tests.support.eventually import eventually
from tests.support.factories import changed, fetch

READY, STOPPED = InstanceState.READY, InstanceState.STOPPED
_POLL_SECONDS = 30.0  # more than the agent's 10 s between looks


@pytest.fixture
async def plane(work: UnitOfWork, nats_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    async with agents.plane(work, nats_url, tmp_path / "plane") as plane:
        yield plane


@pytest.fixture
async def ways(plane: Plane, nats_url: str) -> AsyncIterator[Ways]:
    async with agents.ways(plane, nats_url) as ways:
        yield ways


@pytest.fixture
async def agent(ways: Ways, tmp_path: Path) -> AsyncIterator[Agent]:
    with _agent(ways, tmp_path) as agent:
        yield agent


@pytest.fixture(params=["auto", "off"])
async def either_agent(
    ways: Ways, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Agent]:
    """With and without a sandbox, as the host allows."""
    with _agent(ways, tmp_path, ZEITWORK_NODE__SANDBOX=request.param) as agent:
        yield agent


def _agent(ways: Ways, tmp_path: Path, **settings: str) -> AbstractContextManager[Agent]:
    return agents.agent(
        tmp_path / "agent", api_url=ways.api_url, nats_url=ways.nats_url, **settings
    )


async def test_a_killed_agent_takes_its_instances_up_again(
    plane: Plane, either_agent: Agent
) -> None:
    agent = either_agent
    node = await plane.node(agent.name)
    kept, dropped, drained = [await plane.place(node, "python app.py 200") for _ in range(3)]
    await plane.tell(node)
    ready = {each: await plane.until(each, READY) for each in (kept, dropped, drained)}
    me = await who(ready[kept].port)

    agent.kill()
    assert await who(ready[kept].port) == me
    async with changed(plane.work, Instance, dropped) as row:
        row.state = InstanceState.LOST
    await plane.drain(drained)
    agent.restart()

    await plane.until(drained, STOPPED)
    await eventually(lambda: silent(ready[dropped].port))
    await eventually(lambda: len(plane.reports(kept)) == 2)
    assert await who(ready[kept].port) == me
    assert _starts(agent, kept) == 1
    await plane.drain(kept)
    await plane.until(kept, STOPPED)
    assert _instances(agent) == []


async def test_what_a_killed_agent_had_not_noted_is_ended_and_not_doubled(
    plane: Plane, either_agent: Agent
) -> None:
    agent = either_agent
    node = await plane.node(agent.name)
    wanted, unwanted = [await plane.place(node, "python app.py 200") for _ in range(2)]
    await plane.tell(node)
    ready = {each: await plane.until(each, READY) for each in (wanted, unwanted)}

    agent.kill()
    for each in (wanted, unwanted):
        (agent.data / "journal" / f"{each}.json").write_bytes(b"\xff{half of an entry")
    async with changed(plane.work, Instance, unwanted) as row:
        row.state = InstanceState.LOST
    agent.restart()

    await eventually(lambda: silent(ready[wanted].port))
    await eventually(lambda: silent(ready[unwanted].port))
    await _comes_back(plane, wanted, not_at=ready[wanted].port)
    assert _starts(agent, wanted) == 1  # its directory began anew
    assert not (agent.data / "instances" / unwanted).exists()


async def test_an_instance_that_ended_while_the_agent_was_away_is_started_again(
    plane: Plane, agent: Agent
) -> None:
    node = await plane.node(agent.name)
    instance_id = await plane.start(node, "python app.py 200")
    row = await plane.until(instance_id, READY)

    agent.kill()
    agent.end_instances()
    agent.restart()

    await _comes_back(plane, instance_id, not_at=row.port)


async def test_a_lost_report_of_an_end_is_made_up_for(plane: Plane, agent: Agent) -> None:
    node = await plane.node(agent.name)
    instance_id = await plane.place(node, "python app.py 200")
    await plane.drain(instance_id, seconds=600)  # nothing of it ever ran here
    await plane.until(instance_id, STOPPED)


async def test_repeated_and_late_changes_start_an_instance_once(plane: Plane, agent: Agent) -> None:
    node = await plane.node(agent.name)
    instance_id = await plane.place(node, "python app.py 200")
    for _ in range(20):
        await plane.tell(node)
    row = await plane.until(instance_id, READY)
    me = await who(row.port)
    for _ in range(20):
        await plane.tell(node)
    other = await plane.start(node, "python app.py 200")
    await plane.until(other, READY)

    assert await who(row.port) == me
    assert (_starts(agent, instance_id), _starts(agent, other)) == (1, 1)
    assert [each.state for each in plane.reports(instance_id)] == [READY]


async def test_a_new_generation_takes_the_place_of_the_old_one(plane: Plane, agent: Agent) -> None:
    node = await plane.node(agent.name)
    instance_id = await plane.start(node, "python app.py 200")
    old = await plane.until(instance_id, READY)

    async with changed(plane.work, Instance, instance_id) as row:
        row.generation += 1
    await plane.tell(node)
    await _comes_back(plane, instance_id, not_at=old.port)
    assert await silent(old.port)
    newest = plane.reports(instance_id)[-1]
    assert (newest.state, newest.generation) == (READY, 2)


async def test_without_the_api_what_runs_goes_on_and_what_is_new_waits(
    plane: Plane, ways: Ways, agent: Agent
) -> None:
    node = await plane.node(agent.name)
    running = await plane.start(node, "python app.py 200")
    row = await plane.until(running, READY)

    await ways.api.cut()
    waiting = await plane.start(node, "python app.py 200")
    with pytest.raises(aiohttp.ClientError):
        await who(row.port, "/crash")

    await _comes_back(plane, running, not_at=row.port)  # restarting needs nobody
    assert (await plane.row(waiting)).state is InstanceState.PENDING
    await ways.api.mend()
    await plane.until(waiting, READY)


async def test_a_download_that_the_api_cuts_short_is_not_the_applications_failure(
    plane: Plane, ways: Ways, agent: Agent
) -> None:
    node = await plane.node(agent.name)
    cuts = 4  # more than one round of quick retries

    def away(chunk: bytes) -> bytes:
        raise ConnectionResetError("the artifact store went away")

    plane.blobs.lies = [away] * cuts

    instance_id = await plane.start(node, "python app.py 200")

    await plane.until(instance_id, READY, timeout=30)
    assert plane.blobs.reads == cuts + 1


async def test_without_nats_the_node_looks_by_itself_and_reports_later(
    plane: Plane, ways: Ways, agent: Agent
) -> None:
    node = await plane.node(agent.name)
    first = await plane.start(node, "python app.py 200")
    await plane.until(first, READY)

    await ways.nats.cut()
    second = await plane.place(node, "python app.py 200")

    await eventually(lambda: _log_has(agent, "reports not sent"), timeout=_POLL_SECONDS)
    assert _starts(agent, second) == 1
    assert (await plane.row(second)).state is InstanceState.PENDING
    await ways.nats.mend()
    row = await plane.until(second, READY)
    assert await who(row.port)
    assert [each.state for each in plane.reports(second)] == [READY]


async def test_a_forgotten_node_registers_anew_and_hears_of_changes(
    plane: Plane, agent: Agent
) -> None:
    old = await plane.node(agent.name)
    async with plane.work.transaction() as tx:
        await tx.session.delete(await tx.session.get_one(Node, old))
    await plane.tell(old)

    async def registered() -> str | None:
        now = await plane.node(agent.name)
        return now if now != old else None

    new = await eventually(registered)
    await eventually(lambda: _log_has(agent, f'"node_id": "{new}"'))
    instance_id = await plane.start(str(new), "python app.py 200")
    row = await plane.until(instance_id, READY)
    assert row.node_id == new


async def test_an_agent_that_keeps_nothing_ends_its_instances(
    plane: Plane, ways: Ways, tmp_path: Path
) -> None:
    with _agent(ways, tmp_path, ZEITWORK_NODE__KEEP_INSTANCES="false") as agent:
        node = await plane.node(agent.name)
        instance_id = await plane.start(node, "python app.py 200")
        row = await plane.until(instance_id, READY)

        assert agent.stop() == 0
        assert _instances(agent) == []
        assert await silent(row.port)

        agent.restart()
        await _comes_back(plane, instance_id, not_at=row.port)


async def test_what_an_instance_prints_is_shipped_and_bounded(plane: Plane, agent: Agent) -> None:
    node = await plane.node(agent.name)
    instance_id = await plane.start(node, "python app.py print")
    await plane.until(instance_id, READY, timeout=40)
    old = agent.data / "instances" / instance_id / "output.1.log"
    await eventually(old.exists)
    await eventually(lambda: len(agent.output(instance_id)) <= 5 * 1024 * 1024)
    assert old.stat().st_size <= 5 * 1024 * 1024

    await plane.drain(instance_id)  # its last words come after the flood

    subject = subjects.log("instance", instance_id)
    lines: list[str] = []
    async with plane.bus.follow("ZW_LOGS", subject, after=0) as messages:
        while not lines or not lines[-1].startswith("bye "):
            message = await anext(messages)
            assert len(message.data) < 256 * 1024
            lines += [line["line"] for line in json.loads(message.data)["lines"]]
    assert lines[0].startswith("start ")
    assert any("bytes skipped" in line for line in lines)
    assert "hunter2" not in "".join(lines)


async def test_a_nodes_words_belong_to_the_deployments_chain_of_causes(
    plane: Plane, agent: Agent
) -> None:
    node = await plane.node(agent.name)
    ids = [await plane.place(node, "python app.py 200") for _ in range(2)]
    await plane.tell(node)  # one change for both, of neither's chain

    for each in ids:
        row = await plane.until(each, READY)
        deployment = await fetch(plane.work, Deployment, row.deployment_id)
        (said,) = [said for said in plane.said if said.subject == each]
        assert said.correlation_id == deployment.correlation_id
        logged = [line for line in _log(agent) if line.get("instance_id") == each]
        assert logged
        assert {line["correlation_id"] for line in logged} == {deployment.correlation_id}


async def _comes_back(plane: Plane, instance_id: str, *, not_at: int | None) -> None:
    """Wait until it serves at another address: a port is not used again at once."""

    async def back() -> bool:
        row = await plane.row(instance_id)
        return row.state is READY and row.port != not_at

    await eventually(back)
    assert await who((await plane.row(instance_id)).port)


def _starts(agent: Agent, instance_id: str) -> int:
    """How often its program has started."""
    lines = agent.output(instance_id).splitlines()
    return sum(line.startswith("start ") for line in lines)


def _instances(agent: Agent) -> list[int]:
    return [each.pid for each in processes_of(agent.data) if each.pid != agent.process.pid]


def _log_has(agent: Agent, text: str) -> bool:
    return text in agent.log.read_text()


def _log(agent: Agent) -> list[dict[str, object]]:
    return [json.loads(line) for line in agent.log.read_text().splitlines() if line[:1] == "{"]
