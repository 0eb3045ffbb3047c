"""A release command on a real node: run once over every death of the agent, in its time, or not."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from db.models import Instance
from db.session import UnitOfWork
from events import subjects
from events.instances import InstanceKind
from events.states import InstanceState
from producers.api.routes import PREFIX
from tests.support import agents
from tests.support.agents import Agent, Plane, packed, processes_of
from tests.support.eventually import eventually
from tests.support.factories import changed

STARTING, STOPPED, FAILED = InstanceState.STARTING, InstanceState.STOPPED, InstanceState.FAILED

# `wait` ends well on SIGUSR1, and says that it does on SIGTERM.
MIGRATE = """
import os, pathlib, signal, sys, time
print("start", flush=True)
if sys.argv[1] == "see":
    print("DATABASE_URL", os.environ.get("DATABASE_URL"), "PORT", os.environ.get("PORT"))
if sys.argv[1] == "fail":
    print("no such table: users", flush=True)
    sys.exit(4)
if sys.argv[1] == "wait":
    signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), os._exit(0)))
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
    for _ in range(600):
        time.sleep(0.1)
    sys.exit(9)
"""


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


async def place(plane: Plane, agent: Agent, what: str, *, limit_seconds: int = 60) -> str:
    """A release command for the node; nobody has told it yet."""
    node = await plane.node(agent.name)
    instance_id = await plane.place(node, "unused", archive=packed({"migrate.py": MIGRATE}))
    async with changed(plane.work, Instance, instance_id) as row:
        row.kind, row.limit_seconds = InstanceKind.RELEASE, limit_seconds
        row.command = f"python migrate.py {what}"
    return instance_id


async def run(plane: Plane, agent: Agent, what: str, *, limit_seconds: int = 60) -> str:
    """`place`, and wait until the command runs."""
    instance_id = await place(plane, agent, what, limit_seconds=limit_seconds)
    await tell(plane, instance_id)
    await eventually(lambda: starts(agent, instance_id) == 1)
    return instance_id


async def tell(plane: Plane, instance_id: str) -> None:
    await plane.tell(str((await plane.row(instance_id)).node_id))


async def test_it_sees_the_variables_and_no_port_and_its_end_is_told(
    plane: Plane, agent: Agent
) -> None:
    instance_id = await place(plane, agent, "see")
    await plane.give(instance_id, DATABASE_URL="postgres://db.test/shop")
    await tell(plane, instance_id)
    row = await plane.until(instance_id, STOPPED)
    assert (row.exit_code, row.host, row.port, row.error_code) == (0, None, None, None)
    assert await logged(plane, instance_id, 2) == ["start", "DATABASE_URL *** PORT None"]
    await tell(plane, instance_id)
    await eventually(lambda: traces(agent, instance_id) == [])
    assert commands(agent) == []
    assert (await plane.row(instance_id)).exit_code == 0


async def test_a_failure_has_its_exit_code_and_last_words(plane: Plane, agent: Agent) -> None:
    instance_id = await place(plane, agent, "fail")
    await tell(plane, instance_id)
    row = await plane.until(instance_id, FAILED)
    assert (row.error_code, row.exit_code) == ("release_failed", 4)
    lines = (row.error_detail or "").splitlines()
    assert "exit code 4" in lines[0]
    assert lines[-2] == "no such table: users"
    assert lines[-1] == "Correct what it complains of, and deploy again."
    await tell(plane, instance_id)
    await eventually(lambda: traces(agent, instance_id) == [])


async def test_one_that_outlives_a_killed_agent_is_adopted_and_runs_once(
    plane: Plane, agent: Agent
) -> None:
    instance_id = await run(plane, agent, "wait")
    for times in (1, 2):
        agent.kill()
        agent.restart()
        await eventually(partial(adopted, agent, times), timeout=20)
    assert starts(agent, instance_id) == 1
    finish(agent)
    row = await plane.until(instance_id, STOPPED)
    assert row.exit_code == 0
    assert {each.state for each in plane.reports(instance_id)} == {STARTING, STOPPED}


async def test_one_that_ended_while_the_agent_was_dead_is_told_as_it_ended(
    plane: Plane, agent: Agent
) -> None:
    instance_id = await run(plane, agent, "wait")
    agent.kill()
    finish(agent)
    await eventually(lambda: commands(agent) == [])
    agent.restart()
    row = await plane.until(instance_id, STOPPED)
    assert row.exit_code == 0
    assert starts(agent, instance_id) <= 1  # its directory may be gone by now


@pytest.mark.parametrize("left", ["entry", "nothing readable"])
async def test_one_whose_end_nobody_saw_is_not_run_again(
    plane: Plane, agent: Agent, left: str
) -> None:
    instance_id = await run(plane, agent, "wait")
    agent.kill()
    agent.end_instances()  # as a machine that loses its power
    for name in ("status", "exit-code"):
        (agent.data / "instances" / instance_id / name).unlink(missing_ok=True)
    if left != "entry":
        (agent.data / "journal" / f"{instance_id}.json").write_bytes(b"\xff{half of an entry")
    agent.restart()
    row = await plane.until(instance_id, FAILED)
    assert (row.error_code, row.exit_code) == ("release_lost", None)
    assert "not known whether it finished" in (row.error_detail or "")
    # With its entry its directory is kept, else it began anew; either may be gone by now.
    assert starts(agent, instance_id) <= (1 if left == "entry" else 0)
    assert commands(agent) == []


async def test_one_that_lasts_too_long_is_asked_to_end(plane: Plane, agent: Agent) -> None:
    instance_id = await run(plane, agent, "wait", limit_seconds=2)
    row = await plane.until(instance_id, FAILED)
    assert row.error_code == "release_timed_out"
    assert "bye" in (row.error_detail or "").splitlines()
    assert "release_timeout_seconds" in (row.error_detail or "").splitlines()[-1]
    assert commands(agent) == []


async def test_one_of_a_cancelled_deployment_ends_gracefully_and_has_not_ended_well(
    plane: Plane, agent: Agent
) -> None:
    instance_id = await run(plane, agent, "wait")
    await plane.until(instance_id, STARTING)
    await plane.drain(instance_id)
    row = await plane.until(instance_id, STOPPED)
    assert row.exit_code is None
    assert await logged(plane, instance_id, 2) == ["start", "bye"]
    assert commands(agent) == []
    assert traces(agent, instance_id) == []


async def test_twenty_words_that_it_is_to_run_run_it_once(plane: Plane, agent: Agent) -> None:
    instance_id = await place(plane, agent, "see")
    for _ in range(20):
        await tell(plane, instance_id)
    await plane.until(instance_id, STOPPED)
    for _ in range(5):
        await tell(plane, instance_id)
    other = await place(plane, agent, "see")
    await tell(plane, other)
    await plane.until(other, STOPPED)
    assert (await logged(plane, instance_id, 2))[0] == "start"
    assert {each.state for each in plane.reports(instance_id)} <= {STARTING, STOPPED}


async def logged(plane: Plane, instance_id: str, count: int) -> list[str]:
    """What the command has printed, as whoever follows its log sees it; at least `count` lines."""
    lines: list[str] = []
    subject = subjects.log("instance", instance_id)
    async with plane.bus.follow("ZW_LOGS", subject, after=0) as messages:
        while len(lines) < count:
            message = await anext(messages)
            lines += [line["line"] for line in json.loads(message.data)["lines"]]
    return lines


def starts(agent: Agent, instance_id: str) -> int:
    try:
        return agent.output(instance_id).splitlines().count("start")
    except FileNotFoundError:
        return 0


def commands(agent: Agent) -> list[int]:
    """Processes of the agent's directory but itself."""
    return [each.pid for each in processes_of(agent.data) if each.pid != agent.process.pid]


def adopted(agent: Agent, times: int) -> bool:
    return agent.log.read_text().count("release adopted") == times


def finish(agent: Agent) -> None:
    """Let the command end well."""
    for process in processes_of(agent.data):
        if process.pid != agent.process.pid and process.name().startswith("python"):
            process.send_signal(signal.SIGUSR1)


def traces(agent: Agent, instance_id: str) -> list[str]:
    return [str(path) for path in agent.data.rglob(f"*{instance_id}*")]
