"""What every runtime driver must do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.instances import InstanceSpec
from node.runtimes.base import Handle, Paths, Runtime
from tests.support.eventually import eventually
from tests.support.servers import free_port
from zeitwork import outbound

Later = Callable[[], Runtime]


def instance_spec(**changes: Any) -> InstanceSpec:
    fields: dict[str, Any] = {
        "instance_id": "ins_1",
        "deployment_id": "dep_1",
        "project_id": "prj_1",
        "generation": 1,
        "want": "running",
        "stop_after": None,
        "artifact_digest": "0" * 64,
        "artifact_size": 1,
        "command": "serve",
        "env": {},
        "health_path": "/",
        "health_timeout_seconds": 30.0,
    }
    return InstanceSpec(**{**fields, **changes})


async def get(port: int, path: str = "/") -> Any:
    """The JSON that the instance answers, once it does."""

    async def ask() -> Any:
        try:
            async with (
                outbound.session(total=5) as session,
                session.get(f"http://127.0.0.1:{port}{path}") as answer,
            ):
                return json.loads(await answer.read())
        except (OSError, outbound.ClientError) as error:
            raise AssertionError(f"no answer: {error}") from error

    return await eventually(ask)


async def printed(paths: Paths, line: str) -> None:
    await eventually(lambda: paths.log.exists() and line in paths.log.read_text().splitlines())


class RuntimeContract:
    """Subclasses give `runtime`, opened; `later`, the runtime of the next agent; and `app`.

    `app` holds what these start commands need: `serve` answers its environment as JSON on /env,
    prints "up", and on termination prints "bye" and exits with 5; `deaf` does not end on
    termination; `exit` prints "out" and exits with 3.
    """

    @pytest.fixture
    def paths(self, app: Path, tmp_path: Path) -> Paths:
        run = tmp_path / "run"
        run.mkdir()
        return Paths(app, run)

    @pytest.fixture
    def commands(self) -> dict[str, str]:
        """The start commands by their name in this contract."""
        return {name: name for name in ("serve", "deaf", "exit")}

    async def test_an_instance_serves_on_its_port_and_sees_its_environment(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["serve"], env={"COLOUR": "red -- blue", "PORT": "1"})
        port = free_port()
        handle = await runtime.start(spec, paths, port=port)
        env = await get(port, "/env")
        assert env["COLOUR"] == "red -- blue"
        assert env["PORT"] == str(port)
        assert env["HOST"] == "127.0.0.1"
        assert handle.port == port
        await runtime.stop(handle, grace_seconds=10)

    async def test_nothing_of_the_agents_environment_is_seen(
        self,
        runtime: Runtime,
        paths: Paths,
        commands: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("ZEITWORK_NODE_TOKEN", "secret")
        port = free_port()
        handle = await runtime.start(instance_spec(command=commands["serve"]), paths, port=port)
        assert "ZEITWORK_NODE_TOKEN" not in await get(port, "/env")
        await runtime.stop(handle, grace_seconds=10)

    async def test_the_exit_code_is_known(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["exit"])
        handle = await runtime.start(spec, paths, port=free_port())
        async with asyncio.timeout(20):
            assert await runtime.wait(handle) == 3
            assert await runtime.stop(handle, grace_seconds=10) == 3
        await printed(paths, "out")

    async def test_several_can_wait_for_the_end(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["exit"])
        handle = await runtime.start(spec, paths, port=free_port())
        async with asyncio.timeout(20):
            codes = await asyncio.gather(*(runtime.wait(handle) for _ in range(3)))
        assert codes == [3, 3, 3]
        await runtime.stop(handle, grace_seconds=10)

    async def test_stopping_runs_the_termination_handler(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["serve"])
        handle = await runtime.start(spec, paths, port=free_port())
        await printed(paths, "up")
        assert await runtime.stop(handle, grace_seconds=20) == 5
        await printed(paths, "bye")

    async def test_a_deaf_instance_is_killed_after_the_grace(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["deaf"])
        handle = await runtime.start(spec, paths, port=free_port())
        await printed(paths, "up")
        assert await runtime.stop(handle, grace_seconds=0.2) == 137
        assert not await runtime.adopt(handle)

    async def test_stopping_again_changes_nothing(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["serve"])
        handle = await runtime.start(spec, paths, port=free_port())
        await runtime.stop(handle, grace_seconds=10)
        await runtime.stop(handle, grace_seconds=10)

    async def test_an_instance_can_be_stopped_while_it_starts(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["serve"])
        for _ in range(3):
            handle = await runtime.start(spec, paths, port=free_port())
            await runtime.stop(handle, grace_seconds=10)
            assert not await runtime.adopt(handle)

    async def test_a_later_agent_takes_over(
        self, runtime: Runtime, later: Later, paths: Paths, commands: dict[str, str]
    ) -> None:
        port = free_port()
        spec = instance_spec(command=commands["serve"])
        handle = await runtime.start(spec, paths, port=port)
        await get(port, "/env")
        found = Handle.model_validate_json(handle.model_dump_json())
        heir = later()
        assert await heir.adopt(found)
        await get(port, "/env")
        assert await heir.stop(found, grace_seconds=20) == 5
        assert not await heir.adopt(found)

    async def test_an_ended_instance_is_not_taken_over(
        self, runtime: Runtime, later: Later, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["exit"])
        first = await runtime.start(spec, paths, port=free_port())
        async with asyncio.timeout(20):
            await runtime.wait(first)
        assert not await later().adopt(first)
        again = await runtime.start(
            instance_spec(command=commands["serve"]), paths, port=free_port()
        )
        assert await later().adopt(again)
        assert not await later().adopt(first)
        await runtime.stop(again, grace_seconds=10)

    async def test_a_command_that_is_not_there_ends_with_127(
        self, runtime: Runtime, paths: Paths
    ) -> None:
        spec = instance_spec(command="no-such-program")
        handle = await runtime.start(spec, paths, port=free_port())
        async with asyncio.timeout(20):
            assert await runtime.wait(handle) == 127
        await runtime.stop(handle, grace_seconds=1)
        assert "not found" in paths.log.read_text()
