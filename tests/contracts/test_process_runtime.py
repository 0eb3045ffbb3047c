"""The process runtime against the contract, in both modes, and what only processes can show."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from typing_extensions import override

from node.runtimes.base import Handle, Paths, Runtime
from node.runtimes.process import ProcessRuntime
from tests.contracts.runtime import Later, RuntimeContract, get, instance_spec, printed
from tests.support.eventually import eventually
from tests.support.servers import free_port
from zeitwork import config, sandbox, subprocesses
from zeitwork.config import NodeSettings
from zeitwork.errors import InvalidInput

APP = """
import json, os, signal, socketserver, sys, time
from http.server import BaseHTTPRequestHandler

def bye(*_):
    print("bye", flush=True)
    sys.exit(5)

def read(path):
    try:
        return sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read()
    except OSError as error:
        return type(error).__name__

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        verb, _, rest = self.path[1:].partition("/")
        if verb == "env":
            answer = dict(os.environ)
        elif verb == "read":
            answer = read("/" + rest)
        elif verb == "write":
            open(rest, "w").write("changed")
            answer = read(rest)
        else:
            answer = "ok"
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

verb = sys.argv[1]
if verb == "exit":
    print("out", flush=True)
    sys.exit(3)
if verb == "spawn":  # leaves a child behind
    if os.fork() == 0:
        time.sleep(600)
    print("out", flush=True)
    sys.exit(3)
socketserver.TCPServer.allow_reuse_address = True
signal.signal(signal.SIGTERM, signal.SIG_IGN if verb == "deaf" else bye)
with socketserver.TCPServer(("127.0.0.1", int(os.environ["PORT"])), Handler) as server:
    print("up", flush=True)
    server.serve_forever()
"""
# Starts an instance as an agent does, says so, and is gone at once.
AGENT = """
import asyncio, json, os, sys
from pathlib import Path
from events.instances import InstanceSpec
from node.runtimes.base import Paths
from node.runtimes.process import ProcessRuntime
from zeitwork.config import NodeSettings

async def main(settings, spec, app, run, port):
    settings = NodeSettings.model_validate_json(settings)
    runtime = ProcessRuntime(settings, Path(app))
    await runtime.open()
    spec = InstanceSpec.model_validate_json(spec)
    handle = await runtime.start(spec, Paths(Path(app), Path(run)), port=int(port))
    print(handle.model_dump_json(), flush=True)
    if not settings.keep_instances:
        await asyncio.sleep(60)  # until it is killed
    os._exit(1)

asyncio.run(main(*sys.argv[1:]))
"""


class ProcessContract(RuntimeContract):
    """What processes show in either mode; subclasses give `settings`."""

    @pytest.fixture
    def app(self, tmp_path: Path) -> Path:
        app = tmp_path / "artifact"
        app.mkdir()
        (app / "app.py").write_text(APP)
        return app

    @pytest.fixture
    async def runtime(self, settings: NodeSettings, app: Path) -> AsyncIterator[Runtime]:
        runtime = ProcessRuntime(settings, app)
        await runtime.open()
        yield runtime
        assert _processes_of(app.parent) == []

    @pytest.fixture
    def later(self, settings: NodeSettings, app: Path) -> Later:
        return lambda: ProcessRuntime(settings, app)

    @override
    @pytest.fixture
    @override
    def commands(self) -> dict[str, str]:
        return {name: f"python app.py {name}" for name in ("serve", "deaf", "exit", "spawn")}

    @pytest.mark.parametrize(
        "command",
        [
            "true && python app.py serve",
            "PYTHONOPTIMIZE=1 python app.py serve",
            "sh -c 'python app.py serve; exit $?'",
            "python app.py serve # the web process",
        ],
    )
    async def test_a_program_behind_a_shell_ends_gracefully(
        self, runtime: Runtime, paths: Paths, command: str
    ) -> None:
        spec = instance_spec(command=command)
        handle = await runtime.start(spec, paths, port=free_port())
        await printed(paths, "up")
        assert await runtime.stop(handle, grace_seconds=20) == 5
        await printed(paths, "bye")

    async def test_what_an_ended_instance_left_running_is_killed(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str], app: Path
    ) -> None:
        spec = instance_spec(command=commands["spawn"])
        handle = await runtime.start(spec, paths, port=free_port())
        async with asyncio.timeout(20):
            assert await runtime.wait(handle) == 3
            await runtime.stop(handle, grace_seconds=10)
        await eventually(lambda: _processes_of(app.parent) == [])

    async def test_an_instance_outlives_its_agents_process(
        self, runtime: Runtime, settings: NodeSettings, paths: Paths, commands: dict[str, str]
    ) -> None:
        port = free_port()
        spec = instance_spec(command=commands["serve"])
        handle = await _start_elsewhere(settings, spec.model_dump_json(), paths, port)
        assert await runtime.adopt(handle)
        await get(port, "/env")
        await runtime.stop(handle, grace_seconds=20)
        await printed(paths, "bye")
        assert not psutil.pid_exists(handle.pid) or _is_zombie(handle.pid)

    async def test_what_an_agent_started_without_noting_it_is_purged(
        self, runtime: Runtime, settings: NodeSettings, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["serve"])
        handle = await _start_elsewhere(settings, spec.model_dump_json(), paths, free_port())
        await printed(paths, "up")
        await runtime.purge(paths.run)
        await eventually(lambda: not psutil.pid_exists(handle.pid) or _is_zombie(handle.pid))

    async def test_another_process_with_the_same_pid_is_let_alone(
        self, runtime: Runtime, paths: Paths
    ) -> None:
        bystander = await subprocesses.start(["sleep", "600"])
        ours = Handle(
            instance_id="ins_1",
            pid=bystander.pid,
            birth="another/1",
            mode=runtime.mode,
            port=1,
            run=paths.run,
        )
        assert not await runtime.adopt(ours)
        assert await runtime.wait(ours) is None
        await runtime.stop(ours, grace_seconds=1)
        assert bystander.returncode is None
        assert psutil.Process(bystander.pid).status() != psutil.STATUS_ZOMBIE
        await subprocesses.kill_tree(bystander)

    async def test_a_nul_cannot_smuggle_in_options(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        env = {"X": "1\0--bind\0/\0/host"}
        with pytest.raises(InvalidInput):
            await runtime.start(
                instance_spec(command=commands["serve"], env=env), paths, port=free_port()
            )

    async def test_programs_of_the_artifact_come_first(
        self, runtime: Runtime, paths: Paths, app: Path
    ) -> None:
        tool = app / "tools" / "python"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\necho mine\n")
        tool.chmod(0o755)
        spec = instance_spec(command="python", path=["tools"])
        handle = await runtime.start(spec, paths, port=free_port())
        await printed(paths, "mine")
        await runtime.stop(handle, grace_seconds=10)

    async def test_the_static_server_is_there(
        self, runtime: Runtime, paths: Paths, app: Path
    ) -> None:
        (app / "page.json").write_text("[1]")
        command = "/opt/zeitwork/bin/caddy file-server --root /app --listen 127.0.0.1:$PORT"
        port = free_port()
        handle = await runtime.start(instance_spec(command=command), paths, port=port)
        assert await get(port, "/page.json") == [1]
        await runtime.stop(handle, grace_seconds=10)


class TestSandboxed(ProcessContract):
    """In bubblewrap."""

    @pytest.fixture
    async def settings(self, app: Path) -> NodeSettings:
        reason = await sandbox.why_unavailable(app)
        if reason is not None:
            pytest.skip(f"no sandbox here: {reason}")
        return NodeSettings(sandbox="auto")

    async def test_the_host_is_out_of_sight(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str], tmp_path: Path
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        (other / "secret").write_text("secret")
        port = free_port()
        spec = instance_spec(command=commands["serve"])
        handle = await runtime.start(spec, paths, port=port)
        for hidden in (other / "secret", other, paths.run, tmp_path, Path.cwd()):
            assert await get(port, f"/read{hidden}") == "FileNotFoundError"
        home = await get(port, f"/read{Path.home()}")  # the interpreter may live there
        assert home == "FileNotFoundError" or set(home) <= {".pyenv"}
        assert await get(port, "/read/etc/shadow") == "FileNotFoundError"
        shown = await get(port, "/read/proc")
        assert str(os.getpid()) not in shown or handle.pid == os.getpid()
        await runtime.stop(handle, grace_seconds=10)

    async def test_the_environment_is_not_on_a_command_line(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        port = free_port()
        spec = instance_spec(command=commands["serve"], env={"PASSWORD": "hunter2hunter2"})
        handle = await runtime.start(spec, paths, port=port)
        assert (await get(port, "/env"))["PASSWORD"] == "hunter2hunter2"
        tree = [psutil.Process(handle.pid), *psutil.Process(handle.pid).children(recursive=True)]
        assert len(tree) == 3
        for process in tree:
            assert "hunter2hunter2" not in " ".join(process.cmdline())
        await runtime.stop(handle, grace_seconds=10)

    async def test_the_exit_code_reaches_an_agent_that_is_not_the_parent(
        self, runtime: Runtime, settings: NodeSettings, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["exit"])
        handle = await _start_elsewhere(settings, spec.model_dump_json(), paths, free_port())
        async with asyncio.timeout(20):
            assert await runtime.wait(handle) == 3
        assert await runtime.stop(handle, grace_seconds=1) == 3

    async def test_what_survives_a_killed_bubblewrap_is_killed(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str], app: Path
    ) -> None:
        spec = instance_spec(command=commands["serve"])
        handle = await runtime.start(spec, paths, port=free_port())
        await printed(paths, "up")
        psutil.Process(handle.pid).kill()
        async with asyncio.timeout(20):
            assert await runtime.wait(handle) == 137
            await runtime.stop(handle, grace_seconds=10)
        await eventually(lambda: _processes_of(app.parent) == [])


class TestPlain(ProcessContract):
    """Without a sandbox."""

    @pytest.fixture
    def settings(self) -> NodeSettings:
        return NodeSettings(sandbox="off")

    async def test_the_copy_is_removed(
        self, runtime: Runtime, paths: Paths, commands: dict[str, str]
    ) -> None:
        spec = instance_spec(command=commands["serve"])
        handle = await runtime.start(spec, paths, port=free_port())
        await printed(paths, "up")
        await runtime.stop(handle, grace_seconds=10)
        assert {path.name for path in paths.run.iterdir()} == {paths.log.name}


async def test_without_bubblewrap_instances_are_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bwrap"
    shutil.copy("/bin/false", broken)
    monkeypatch.setattr(sandbox, "program", lambda: broken)
    runtime = ProcessRuntime(NodeSettings(), tmp_path)
    await runtime.open()
    assert runtime.mode == "plain"


async def _start_elsewhere(settings: NodeSettings, spec: str, paths: Paths, port: int) -> Handle:
    """Start by an agent of its own, which is dead when this returns."""
    said: list[str] = []
    agent = await subprocesses.start(
        [
            sys.executable, "-c", AGENT, settings.model_dump_json(), spec,
            str(paths.app), str(paths.run), str(port),
        ],
        env=config.child_environment(PYTHONPATH=str(Path.cwd())),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert agent.stdout is not None
    async with asyncio.timeout(30):
        said.append((await agent.stdout.readline()).decode())
    if agent.returncode is None and not settings.keep_instances:
        agent.kill()
    await agent.wait()
    return Handle.model_validate_json(said[0])


def _processes_of(directory: Path) -> list[psutil.Process]:
    """Live processes that name the directory, or work in it; a sandboxed one's root tells."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "environ", "status"]):
        facts: Mapping[str, Any] = process.info
        if facts["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            continue
        mounts = Path(f"/proc/{process.pid}/mountinfo")
        try:
            seen = mounts.read_text()
        except OSError:
            continue
        if str(directory) in f"{facts['cmdline']} {facts['cwd']} {seen}":
            found.append(process)
    return found


def _is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture(autouse=True)
def _no_children_left() -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    after = psutil.Process().children(recursive=True)
    left = [child for child in after if child.pid not in before]
    assert [child for child in left if child.status() != psutil.STATUS_ZOMBIE] == []
