"""The examples: each built for real, built again after a change of code, started, and asked.

They need the package indexes that the machine's settings name; without an answer from one, the test
of an example that needs it is skipped.
"""

from __future__ import annotations

import asyncio
import http.client
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consumers.builds import toolchains
from consumers.builds.failures import DependencyUnavailable
from consumers.builds.pipeline import BuildResult
from node.artifacts import _lay, _unpack
from tests.support.builds import GitRepository, Workbench, why_no_sandbox
from tests.support.eventually import eventually
from tests.support.examples import EXAMPLES, FIRST, INSTALLED, Example, lock
from tests.support.servers import free_port
from zeitwork import sandbox, subprocesses


def test_every_example_is_tried() -> None:
    tried = {example.name for example in (*FIRST, *INSTALLED)}
    applications = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert tried == applications - {"fake_github", "__pycache__"}


def test_no_example_names_a_package_index() -> None:
    for path in EXAMPLES.rglob("*"):
        if path.name == "package-lock.json":  # where to give money is named as well
            assert '"resolved"' not in path.read_text(), path
        elif path.suffix in {".toml", ".txt", ".lock"}:
            assert "://" not in path.read_text(), path


@pytest.mark.parametrize("example", [*FIRST, *INSTALLED], ids=lambda example: example.name)
async def test_an_example_is_built_and_answers(example: Example, tmp_path: Path) -> None:
    if example.builder == "node" and shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    repository = GitRepository(tmp_path / "repository")
    example.copy(repository.path)
    bench = Workbench(tmp_path / "data")
    if example.name == "fastapi" and (reason := await lock(repository.path)):
        pytest.skip(f"no package index answers: {reason}")
    first = await _build(bench, repository)
    assert first.manifest.builder == example.builder
    if example.installs is not None:
        assert f"$ {example.installs}" in bench.log

    second = await _build(bench, repository, example.saying("It has changed"))
    assert second.manifest == first.manifest
    if example.installs is not None:
        assert f"$ {example.installs}" not in bench.log
        assert "Dependencies are unchanged" in bench.log
    async with _running(bench, second, tmp_path) as port:
        await eventually(lambda: _answer(port) == 200, timeout=20)
        page = _page(port)
    assert "It has changed" in page
    assert example.says in page


async def _build(
    bench: Workbench, repository: GitRepository, change: Mapping[str, str] | None = None
) -> BuildResult:
    sha = repository.commit(change or {})
    try:
        return await bench.build(bench.pipeline(), repository.url, sha)
    except DependencyUnavailable as error:
        pytest.skip(f"no package index answers: {error.message}")


@asynccontextmanager
async def _running(bench: Workbench, result: BuildResult, tmp_path: Path) -> AsyncIterator[int]:
    """The artifact, started as nodes start it; the port that it listens on."""
    app = tmp_path / "app"
    layers = []
    for number, archive in enumerate(bench.archives(result)):
        layers.append(tmp_path / f"layer-{number}")
        await asyncio.to_thread(_unpack, archive, layers[-1])
    await asyncio.to_thread(_lay, layers, app)
    manifest, port = result.manifest, free_port()
    env = {**manifest.env, "PORT": str(port), "HOST": "127.0.0.1"}
    argv = ["sh", "-c", manifest.processes["web"]]
    where = sandbox.APP if await why_no_sandbox(tmp_path) is None else str(app)
    tools = [f"{sandbox.python_toolchain()}/bin", str(_caddy().parent)]
    env = sandbox.environment(env, path=[*(f"{where}/{name}" for name in manifest.path), *tools])
    if where == sandbox.APP:
        shown = (sandbox.python_toolchain(), _caddy())
        argv = sandbox.arguments(
            sandbox.Spec(app=app, throwaway=True, env=env, read_only=shown), argv
        )
    process = await subprocesses.start(argv, cwd=app, env=env)
    try:
        yield port
    finally:
        await subprocesses.kill_tree(process)


def _caddy() -> Path:
    found = shutil.which("caddy", path=str(Path(toolchains.uv()).parent)) or shutil.which("caddy")
    assert found is not None
    return Path(found)


def _answer(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def _page(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
