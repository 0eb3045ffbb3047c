"""What a build can see and do: inside the sandbox almost nothing; and it is said when it is off."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.builds import GitRepository, Workbench, alive_with, why_no_sandbox
from tests.support.eventually import eventually
from zeitwork import ids, sandbox, subprocesses
from zeitwork.errors import TimedOut

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None,
    reason="Node.js and npm are not installed",
)


@pytest.fixture
async def bench(tmp_path: Path) -> Workbench:
    if reason := await why_no_sandbox(tmp_path):
        pytest.skip(f"no sandbox on this host: {reason}")
    return Workbench(tmp_path / "data")


async def output(bench: Workbench, tmp_path: Path, script: str) -> list[str]:
    """What the script prints as a build in the sandbox."""
    repository = GitRepository(tmp_path / f"repository-{ids.token(9)}")
    package = {"scripts": {"build": "sh build.sh", "start": "x"}}
    files = {"package.json": json.dumps(package), "build.sh": script}
    sha = repository.commit({**files, ".npmrc": "loglevel=silent\n"})
    await bench.build(bench.pipeline(), repository.url, sha)
    return [line.removeprefix("    said: ") for line in bench.lines if "    said: " in line]


async def test_the_hosts_files_are_not_there(bench: Workbench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    home = Path.home()
    looks = [str(secret), "/etc/shadow", "/etc/hostname", str(bench.root / "blobs"), "/var", "/sys"]
    script = "".join(f"test -e '{path}' && echo 'said: {path}'\n" for path in looks)
    script += f"ls -A {home} 2>/dev/null | while read name; do echo said: $name; done\n"
    script += "ls / | while read name; do echo said: /$name; done; true"
    seen = set(await output(bench, tmp_path, script))
    assert seen.isdisjoint(looks)
    kept = {Path(sys.base_prefix).resolve().relative_to(home).parts[0]} if _below(home) else set()
    assert {name for name in seen if not name.startswith("/")} <= kept
    assert "/app" in seen


async def test_other_processes_are_not_seen(bench: Workbench, tmp_path: Path) -> None:
    mark = f"mark-{ids.token(9)}"
    neighbour = await subprocesses.start(["sh", "-c", f"sleep 600; : {mark}"])
    try:
        script = 'for p in /proc/[0-9]*; do echo "said: $(tr "\\0" " " < $p/cmdline)"; done\n'
        script += f"kill -0 {neighbour.pid} 2>/dev/null && echo said: reached\n"
        script += "echo said: end"
        *commands, end = await output(bench, tmp_path, script)
    finally:
        await subprocesses.kill_tree(neighbour)
    assert end == "end"
    assert any("build.sh" in command for command in commands)
    assert not any(mark in command for command in commands)
    assert "reached" not in commands


async def test_the_platforms_environment_is_not_seen(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEITWORK_API_TOKEN", "s3cret")
    script = "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -e s3cret -e ^ZW_BUILD | sort -u | "
    script += "while read line; do echo said: $line; done"
    (said,) = await output(bench, tmp_path, script)
    assert said.startswith("ZW_BUILD=bld-")


async def test_the_hosts_users_do_not_see_the_builds_variables(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "https://ann:s3cret@index.invalid/simple")
    mark = f"mark-{ids.token(9)}"
    script = f"test -n $UV_INDEX_URL && sh -c 'sleep 600; : {mark}'"
    building = asyncio.ensure_future(output(bench, tmp_path, script))
    try:
        await eventually(lambda: alive_with(mark))
        assert alive_with("s3cret") == []
    finally:
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)


async def test_nothing_can_be_written_outside(bench: Workbench, tmp_path: Path) -> None:
    before = {path for path in bench.root.rglob("*") if "cache" not in path.parts}
    targets = ["/usr/x", "/etc/x", "/x", "/app/../x", str(tmp_path / "x"), "/proc/sys/kernel/core"]
    script = "".join(
        f"(echo x > '{target}') 2>/dev/null && echo 'said: {target}'\n" for target in targets
    )
    script += "mount -t tmpfs none /usr 2>/dev/null && echo said: mounted\n"
    script += "unshare -U true 2>/dev/null && echo said: unshared\n"
    script += "mkdir -p /tmp/x && echo 'said: own /tmp'"
    said = await output(bench, tmp_path, script)
    # The sandbox's own root and /etc, gone with it.
    assert set(said) <= {"/x", "/app/../x", "/etc/x", "own /tmp"}
    assert not Path("/x").exists()
    assert not Path("/etc/x").exists()
    assert not (tmp_path / "x").exists()
    after = {path for path in bench.root.rglob("*") if "cache" not in path.parts}
    assert {path.name for path in after - before if path.is_file()} <= {
        path.name for path in (bench.root / "blobs").rglob("*")
    }


async def test_it_is_nobody_with_no_capability(bench: Workbench, tmp_path: Path) -> None:
    script = "echo said: $(id -u); grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | "
    script += "while read line; do echo said: $line; done"
    assert await output(bench, tmp_path, script) == [
        "1000",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
    ]


async def test_nobody_plants_anything_in_the_cache_of_another(
    bench: Workbench, tmp_path: Path
) -> None:
    """Not another project on the same repository, nor a fork in the project's own builds."""
    repository = GitRepository(tmp_path / "repository")
    script = "ls /cache/npm; mkdir -p /cache/npm; touch /cache/npm/said-$ZW_BUILD"
    package = {"scripts": {"build": script, "start": "x"}}
    sha = repository.commit({"package.json": json.dumps(package)})

    async def saw(build_id: str, project_id: str, *, trusted: bool = True) -> set[str]:
        await bench.build(
            bench.pipeline(),
            repository.url,
            sha,
            build_id=build_id,
            project_id=project_id,
            trusted=trusted,
        )
        said = (line.strip() for line in bench.lines)
        return {line.removeprefix("said-") for line in said if line.startswith("said-")}

    assert await saw("attacker", "prj_attacker") == set()
    assert await saw("fork", "prj_shop", trusted=False) == set()
    assert await saw("first", "prj_shop") == set()
    assert await saw("second", "prj_shop") == {"first"}
    assert await saw("fork-again", "prj_shop", trusted=False) == set()


async def test_neither_another_build_nor_a_socket_of_the_platform_is_found(
    bench: Workbench, tmp_path: Path
) -> None:
    mark = f"mark-{ids.token(9)}"
    other = asyncio.ensure_future(
        output(bench, tmp_path, f"touch {mark} /cache/{mark}; sh -c 'sleep 600; : {mark}'")
    )
    database = socket.socket(socket.AF_UNIX)
    # Paths of sockets are short, and pytest's are long.
    place = tempfile.mkdtemp(dir="/var/tmp")
    try:
        database.bind(f"{place}/.s.PGSQL.5432")
        database.listen()
        await eventually(lambda: alive_with(mark))
        # What the sandbox shows on purpose is large, and never written to.
        passed = " -o ".join(f"-path {path}" for path in ("/proc", "/usr", sys.base_prefix))
        look = f"find / \\( {passed} \\) -prune -o \\( -type s -o -name {mark} \\) -print"
        script = f"{look} 2>/dev/null | while read path; do echo said: $path; done; echo said: end"
        assert await output(bench, tmp_path, script) == ["end"]
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        database.close()
        shutil.rmtree(place)


async def test_a_file_without_end_is_stopped(bench: Workbench, tmp_path: Path) -> None:
    script = "truncate -s 5G huge 2>/dev/null || echo said: refused; rm -f huge"
    assert await output(bench, tmp_path, script) == ["refused"]


async def test_it_is_said_when_the_sandbox_is_off(tmp_path: Path) -> None:
    bench = Workbench(tmp_path / "data")
    repository = GitRepository(tmp_path / "repository")
    package = {"scripts": {"build": "true", "start": "x"}}
    sha = repository.commit({"package.json": json.dumps(package)})
    await bench.build(bench.pipeline(sandbox="off"), repository.url, sha)
    assert "The sandbox is switched off; commands run as the platform's user" in bench.log


async def test_a_host_that_is_too_busy_to_tell_is_not_taken_for_one_without_a_sandbox(
    bench: Workbench,
) -> None:
    bench.root.mkdir()
    with pytest.raises(TimedOut):
        await sandbox.why_unavailable(bench.root, timeout=0)


async def test_it_is_said_when_the_host_has_no_sandbox(bench: Workbench, tmp_path: Path) -> None:
    """The host's refusal is real: a sandbox inside a sandbox that forbids further ones."""
    script = (
        "import asyncio, sys; from pathlib import Path; from zeitwork import sandbox\n"
        "print(asyncio.run(sandbox.why_unavailable(Path('/tmp'))))"
    )
    spec = sandbox.Spec(
        app=Path.cwd(),
        throwaway=True,
        env=sandbox.environment({}),
        read_only=(sandbox.python_toolchain(), Path(sys.prefix)),
    )
    argv = sandbox.arguments(spec, [sys.executable, "-c", script])
    assert "bwrap: " in await subprocesses.check(argv, timeout=30)


def _below(home: Path) -> bool:
    return Path(sys.base_prefix).resolve().is_relative_to(home)
