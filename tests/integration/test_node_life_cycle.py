"""The node agent as a process, against a real API and real NATS: an instance from start to end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from db.models import Artifact, ArtifactLayer, Node
from db.session import UnitOfWork
from events import subjects
from events.nodes import Heartbeat
from events.states import InstanceState
from producers.api.routes import PREFIX
from tests.support import agents
from tests.support.agents import APP, Agent, Plane, packed, processes_of, silent, who
from tests.support.eventually import eventually
from tests.support.factories import every

READY, FAILED, STOPPED = InstanceState.READY, InstanceState.FAILED, InstanceState.STOPPED


@pytest.fixture
async def plane(work: UnitOfWork, nats_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    async with agents.plane(work, nats_url, tmp_path / "plane") as plane:
        yield plane


@pytest.fixture(params=["auto", "off"])
def agent(
    plane: Plane, nats_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Agent]:
    """With and without a sandbox, as the host allows."""
    api = plane.api.base.removesuffix(PREFIX)
    sandbox = {"ZEITWORK_NODE__SANDBOX": request.param}
    with agents.agent(tmp_path / "agent", api_url=api, nats_url=nats_url, **sandbox) as agent:
        yield agent


@pytest.fixture
async def node(plane: Plane, agent: Agent) -> str:
    return await plane.node(agent.name)


async def test_a_node_says_what_it_is_and_that_it_lives(plane: Plane, agent: Agent) -> None:
    node_id = await plane.node(agent.name)
    async with plane.bus.listen(subjects.heartbeat(node_id)) as beats:
        beat = Heartbeat.model_validate_json((await anext(beats)).data)
    assert beat == Heartbeat(node_id=node_id, instances=0)

    assert agent.stop() == 0
    agent.restart()
    async with plane.bus.listen(subjects.heartbeat(node_id)) as beats:
        await anext(beats)

    (row,) = await every(plane.work, Node, name=agent.name)
    assert (row.id, row.runtime, row.address) == (node_id, "process", "127.0.0.1")


async def test_instances_of_one_artifact_serve_side_by_side(
    plane: Plane, agent: Agent, node: str
) -> None:
    ids = [await plane.place(node, "python app.py 200") for _ in range(2)]
    await plane.tell(node)

    rows = [await plane.until(each, READY) for each in ids]

    answers = {await who(row.port) for row in rows}
    assert len(answers) == 2
    assert plane.blobs.reads == 1


async def test_an_artifact_of_two_layers_serves_and_each_layer_is_fetched_once(
    plane: Plane, agent: Agent, node: str
) -> None:
    dependencies = packed({".venv/lib/own.py": "STATUS = 200\n"})
    digest = hashlib.sha256(dependencies).hexdigest()
    await plane._store(digest, dependencies)
    command = 'cd .venv/lib && python ../../app.py "$(python -c "import own; print(own.STATUS)")"'
    ids = [await plane.place(node, command) for _ in range(2)]
    async with plane.work.transaction() as tx:
        for number, artifact in enumerate(await every(plane.work, Artifact)):
            row = await tx.session.get_one(Artifact, artifact.id)
            row.digest = f"{number:064}"
            tx.session.add(
                ArtifactLayer(
                    artifact_id=row.id,
                    position=1,
                    digest=digest,
                    size=len(dependencies),
                    organisation_id=row.organisation_id,
                )
            )
    await plane.tell(node)
    for each in ids:
        await plane.until(each, READY)
    assert plane.blobs.reads == 2


async def test_a_redirect_is_as_good_as_a_page(plane: Plane, node: str) -> None:
    await plane.until(await plane.start(node, "python app.py 302"), READY)


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("500", "health_check_failed", "start "),
        ("hang", "health_check_failed", "start "),
        ("elsewhere", "health_check_failed", "start "),
        ("exit", "start_command_exited", "no configuration, going down"),
    ],
)
async def test_what_does_not_come_up_fails_with_its_last_words(
    plane: Plane, agent: Agent, node: str, what: str, code: str, said: str
) -> None:
    instance_id = await plane.start(node, f"python app.py {what}")

    row = await plane.until(instance_id, FAILED)

    assert row.error_code == code
    assert row.error_detail is not None
    assert said in row.error_detail.splitlines()[-1]
    assert row.exit_code == 3 or what != "exit"
    assert [each.state for each in plane.reports(instance_id)] == [FAILED]
    assert _instances(agent) == []
    await plane.tell(node)
    await eventually(lambda: _traces(agent, instance_id) == [])


async def test_a_crashed_instance_is_out_of_traffic_and_comes_back(plane: Plane, node: str) -> None:
    instance_id = await plane.start(node, "python app.py 200")
    row = await plane.until(instance_id, READY)
    before, port = await who(row.port), row.port

    with pytest.raises(aiohttp.ClientError):
        await who(port, "/crash")

    async def back() -> bool:
        now = await plane.row(instance_id)
        return now.state is READY and now.port != port

    await eventually(back)
    assert await who((await plane.row(instance_id)).port) != before
    states = [each.state for each in plane.reports(instance_id)]
    assert states == [READY, InstanceState.STARTING, READY]


async def test_a_draining_instance_serves_until_its_time_and_leaves_nothing(
    plane: Plane, agent: Agent, node: str
) -> None:
    instance_id = await plane.start(node, "python app.py 200")
    row = await plane.until(instance_id, READY)
    me = await who(row.port)

    await plane.drain(instance_id, seconds=600)
    other = await plane.start(node, "python app.py 200")  # the look for it sees the drain too
    await plane.until(other, READY)
    assert await who(row.port) == me

    await plane.drain(instance_id)
    await plane.until(instance_id, STOPPED)
    assert await silent(row.port)
    assert (await plane.row(instance_id)).exit_code in {0, None}
    assert _traces(agent, instance_id) == []
    assert len(_tokens(agent, other)) == 1


async def test_a_deaf_instance_is_killed_after_the_grace(
    plane: Plane, agent: Agent, node: str
) -> None:
    instance_id = await plane.start(node, "python app.py deaf")
    row = await plane.until(instance_id, READY)

    await plane.drain(instance_id)

    row = await plane.until(instance_id, STOPPED, timeout=30)
    assert row.exit_code == 137
    assert _instances(agent) == []


async def test_changed_and_oversized_downloads_are_refused_and_tried_again(
    plane: Plane, agent: Agent, node: str
) -> None:
    plane.blobs.lies = [lambda chunk: bytes(len(chunk)), lambda chunk: chunk[:-1] + b"!"]

    instance_id = await plane.start(node, "python app.py 200")

    await plane.until(instance_id, READY)
    assert plane.blobs.reads == 3


async def test_an_artifact_that_stays_corrupt_fails_the_instance(
    plane: Plane, agent: Agent, node: str
) -> None:
    plane.blobs.lies = [lambda chunk: bytes(len(chunk))] * 3

    instance_id = await plane.start(node, "python app.py 200")

    row = await plane.until(instance_id, FAILED)
    assert row.error_code == "artifact_corrupt"
    assert list((agent.data / "artifacts").iterdir()) == []


@pytest.mark.parametrize(
    "archive",
    [
        packed({"app.py": APP, "../evil": "x"}),
        packed({"app.py": APP, "a/../../../evil": "x"}),
        packed({"app.py": APP}, links={"evil": "/etc/passwd"}),
        packed({"app.py": APP}, links={"evil": "../../../plane"}),
        b"not an archive",
    ],
    ids=["parent", "far parent", "absolute link", "link to outside", "nonsense"],
)
async def test_an_archive_that_leaves_its_directory_is_refused(
    plane: Plane, agent: Agent, node: str, archive: bytes
) -> None:
    instance_id = await plane.start(node, "python app.py 200", archive=archive)

    row = await plane.until(instance_id, FAILED)
    assert row.error_code == "artifact_corrupt"
    assert list(agent.directory.rglob("*evil*")) == []
    assert list((agent.data / "artifacts").iterdir()) == []


def _tokens(agent: Agent, instance_id: str) -> list[str]:
    """A token for each time that its program started."""
    words = [line.split() for line in agent.output(instance_id).splitlines()]
    return [line[1] for line in words if line[:1] == ["start"]]


def _instances(agent: Agent) -> list[int]:
    """Processes of instances: everything of the agent's directory but itself."""
    return [each.pid for each in processes_of(agent.data) if each.pid != agent.process.pid]


def _traces(agent: Agent, instance_id: str) -> list[Path]:
    """What is left of an instance on disk, while the agent may be removing it."""
    return [
        Path(folder, name)
        for folder, folders, files in os.walk(agent.data)
        for name in (*folders, *files)
        if instance_id in name
    ]
