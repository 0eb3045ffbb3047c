"""From a commit to an artifact: what succeeds, what fails, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from consumers.builds import directories, survivors
from consumers.builds.pipeline import BuildResult, Pipeline
from tests.contracts.builder import wheel
from tests.support.builds import GitRepository, Workbench, alive_with, why_no_sandbox
from tests.support.eventually import eventually
from zeitwork import ids, subprocesses
from zeitwork.errors import (
    BuildCommandFailed,
    BuildFailed,
    BuildTimedOut,
    Conflict,
    InvalidInput,
    NothingDetected,
    SourceUnavailable,
)

node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None,
    reason="Node.js and npm are not installed",
)
# A builder as it is in production, which is killed in the middle of its work.
BUILDER = """
import asyncio, sys
from pathlib import Path
from tests.support.builds import Workbench

async def main(root, url, sha, sandbox):
    bench = Workbench(Path(root))
    await bench.build(bench.pipeline(sandbox=sandbox), url, sha, build_id="bld-killed")

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path / "data")
    yield bench
    assert bench.leftovers() == []


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repository")


@pytest.fixture(params=["auto", "off"])
async def pipeline(request: pytest.FixtureRequest, bench: Workbench, tmp_path: Path) -> Pipeline:
    """In the sandbox and without it."""
    if request.param == "auto" and (reason := await why_no_sandbox(tmp_path)):
        pytest.skip(f"no sandbox on this host: {reason}")
    return bench.pipeline(sandbox=request.param)


def script(text: str) -> dict[str, str]:
    """An application whose build is a shell script."""
    package = {"scripts": {"build": "sh build.sh", "start": "node server.js"}}
    return {"package.json": json.dumps(package), "build.sh": text, ".npmrc": "loglevel=silent\n"}


def names(bench: Workbench, result: BuildResult) -> list[str]:
    found = []
    for path in bench.archives(result):
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            found += archive.getnames()
    return found


async def test_a_static_site(bench: Workbench, repository: GitRepository) -> None:
    sha = repository.commit({"index.html": "hello", "css/a.css": "a {}"})
    result = await bench.build(bench.pipeline(), repository.url, sha)
    assert result.manifest.builder == "static"
    assert result.manifest.detected[0] == "static: index.html is present"
    assert {"index.html", "css/a.css"} <= set(names(bench, result))
    assert "There is nothing to install or to compile" in bench.log
    assert sha[:12] in bench.log


async def test_a_python_application_with_dependencies(
    bench: Workbench, pipeline: Pipeline, repository: GitRepository
) -> None:
    repository.path.joinpath("tiny-1.0-py3-none-any.whl").write_bytes(wheel("tiny"))
    sha = repository.commit({"requirements.txt": "./tiny-1.0-py3-none-any.whl", "main.py": ""})
    result = await bench.build(pipeline, repository.url, sha)
    assert result.manifest.processes == {"web": "python main.py"}
    assert result.manifest.path == [".venv/bin"]
    assert any(name.endswith("site-packages/tiny.py") for name in names(bench, result))
    assert "+ tiny==1.0" in bench.log


async def test_a_package_from_the_index(bench: Workbench, repository: GitRepository) -> None:
    """The one test that needs a package index; a machine without one skips it."""
    project = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["six==1.17.0"]\n'
    sha = repository.commit({"pyproject.toml": project, "main.py": "import six"})
    try:
        result = await bench.build(bench.pipeline(), repository.url, sha)
    except (BuildCommandFailed, BuildTimedOut):
        if any(word in bench.log for word in ("Failed to fetch", "error sending request")):
            pytest.skip("no package index answers")
        raise
    assert any(name.endswith("site-packages/six.py") for name in names(bench, result))


@node
async def test_a_node_application(
    bench: Workbench, pipeline: Pipeline, repository: GitRepository
) -> None:
    sha = repository.commit(script("echo made > made.txt"))
    result = await bench.build(pipeline, repository.url, sha)
    assert result.manifest.processes == {"web": "npm start"}
    assert "made.txt" in names(bench, result)
    assert ".npmrc" not in names(bench, result)


async def test_the_procfile_and_the_root_directory_decide(
    bench: Workbench, repository: GitRepository
) -> None:
    files = {"apps/api/main.py": "", "apps/api/Procfile": "web: python -m api # go\nnonsense\n"}
    sha = repository.commit({**files, "index.html": "the site"})
    result = await bench.build(bench.pipeline(), repository.url, sha, root="apps/api")
    assert result.manifest.processes == {"web": "python -m api"}
    assert names(bench, result) == ["Procfile", "main.py"]
    assert "Procfile: 'nonsense' is not understood and ignored" in bench.log


async def test_the_same_tree_of_another_commit_is_the_same_artifact(
    bench: Workbench, repository: GitRepository
) -> None:
    first = repository.commit({"index.html": "hello", "main.css": "a {}"})
    second = repository.commit({})
    assert first != second
    results = [await bench.build(bench.pipeline(), repository.url, sha) for sha in (first, second)]
    assert results[0] == results[1]


async def test_names_that_are_not_utf_8_do_not_break_a_build(
    bench: Workbench, repository: GitRepository
) -> None:
    Path(os.fsdecode(os.fsencode(repository.path) + b"/\xff.py")).write_text("")
    sha = repository.commit({"index.html": "hello"})
    result = await bench.build(bench.pipeline(), repository.url, sha)
    result.manifest.model_dump_json().encode()


@pytest.mark.parametrize(
    ("files", "links", "root", "error"),
    [
        ({"README.md": "x"}, {}, "", NothingDetected),
        ({"index.html": "x"}, {}, "missing", SourceUnavailable),
        ({"index.html": "x"}, {}, "../..", SourceUnavailable),
        ({"index.html": "x"}, {"passwd": "/etc/passwd"}, "", SourceUnavailable),
        ({"index.html": "x"}, {"up": "../../../.."}, "", SourceUnavailable),
        ({"index.html": "x", ".zeitwork/Caddyfile/x": "x"}, {}, "", BuildFailed),
        ({"pyproject.toml": "x = " + "[" * 5000}, {}, "", BuildFailed),
        ({"package.json": "[]"}, {}, "", BuildFailed),
    ],
)
async def test_what_cannot_become_an_artifact_fails_with_its_reason(
    bench: Workbench,
    repository: GitRepository,
    files: dict[str, str],
    links: dict[str, str],
    root: str,
    error: type[BuildFailed],
) -> None:
    sha = repository.commit(files, links=links)
    with pytest.raises(error) as caught:
        await bench.build(bench.pipeline(), repository.url, sha, root=root)
    assert not caught.value.retryable
    assert str(bench.root) not in caught.value.message


@pytest.mark.parametrize("build_id", ["", "..", "a/b", ".hidden", "a\0b", "x" * 200])
async def test_a_build_id_that_is_a_path_is_refused(bench: Workbench, build_id: str) -> None:
    with pytest.raises(InvalidInput):
        await bench.build(bench.pipeline(), "file:///x", "a" * 40, build_id=build_id or "/")


@node
async def test_a_build_that_fails_says_why(
    bench: Workbench, pipeline: Pipeline, repository: GitRepository
) -> None:
    sha = repository.commit(script("echo 'no such module' >&2; exit 3"))
    with pytest.raises(
        BuildCommandFailed, match=r"exit code 3\. Its last line was: no such module"
    ):
        await bench.build(pipeline, repository.url, sha)


@node
@pytest.mark.parametrize("sandbox", ["auto", "off"])
async def test_a_build_that_hangs_is_stopped_with_everything_it_started(
    bench: Workbench, repository: GitRepository, sandbox: str, tmp_path: Path
) -> None:
    if sandbox == "auto" and (reason := await why_no_sandbox(tmp_path)):
        pytest.skip(f"no sandbox on this host: {reason}")
    mark = f"mark-{ids.token(9)}"
    hang = f"setsid sh -c 'sleep 600; : {mark}' & sh -c 'sleep 600; : {mark}'"
    sha = repository.commit(script(f"echo hanging; {hang}"))
    pipeline = bench.pipeline(sandbox=sandbox, timeout_seconds=4)  # type: ignore[arg-type]
    with pytest.raises(BuildTimedOut) as caught:
        await bench.build(pipeline, repository.url, sha)
    assert "The last step was: Building with the node builder" in caught.value.message
    assert "must neither wait for input nor serve" in caught.value.message
    assert "hanging" in bench.log
    assert alive_with(mark) == []


@node
async def test_a_build_that_leaves_processes_behind_succeeds_without_them(
    bench: Workbench, pipeline: Pipeline, repository: GitRepository
) -> None:
    mark = f"mark-{ids.token(9)}"
    daemon = f"setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 &\n"
    sha = repository.commit(script(daemon * 20 + "echo made > made.txt"))
    result = await bench.build(pipeline, repository.url, sha)
    assert "made.txt" in names(bench, result)
    assert alive_with(mark) == []


@node
async def test_ten_megabytes_of_output_are_cut_and_the_end_is_told(
    bench: Workbench, pipeline: Pipeline, repository: GitRepository
) -> None:
    flood = "yes 0123456789012345678901234567890123456789 | head -n 260000"
    sha = repository.commit(script(f"{flood}; echo the end; exit 1"))
    with pytest.raises(BuildCommandFailed, match="Its last line was: the end"):
        await bench.build(pipeline, repository.url, sha)
    assert len(bench.lines) < 200_100
    assert "the rest is not shown" in bench.log


@node
async def test_secrets_of_the_platform_are_not_in_the_log(
    bench: Workbench,
    pipeline: Pipeline,
    repository: GitRepository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZEITWORK_API_TOKEN", "s3cret-token")
    monkeypatch.setenv("DATABASE_PASSWORD", "s3cret-password")
    monkeypatch.setenv("UV_INDEX_URL", "https://ann:s3cret-index@index.invalid/simple")
    sha = repository.commit(script("env; cat ../gitconfig ../.git-credentials 2>&1; true"))
    await bench.build(pipeline, repository.url, sha)
    assert "UV_INDEX_URL=https://***@index.invalid/simple" in bench.log
    assert "s3cret" not in bench.log


@node
async def test_a_link_that_the_build_makes_does_not_take_the_host_along(
    bench: Workbench, pipeline: Pipeline, repository: GitRepository
) -> None:
    sha = repository.commit(script("ln -s /etc/passwd passwd"))
    with pytest.raises(BuildFailed, match="passwd is a link to '/etc/passwd'"):
        await bench.build(pipeline, repository.url, sha)


async def test_the_same_build_does_not_run_twice_at_once(
    bench: Workbench, repository: GitRepository
) -> None:
    sha = repository.commit({"index.html": "x"})
    with directories.owned(bench.work_dir / "bld-1"):
        with pytest.raises(Conflict):
            await bench.build(bench.pipeline(), repository.url, sha, build_id="bld-1")
        assert await bench.pipeline().sweep() == []
        assert bench.leftovers() == [bench.work_dir / "bld-1"]
    await bench.build(bench.pipeline(), repository.url, sha, build_id="bld-1")


@node
async def test_a_cancelled_build_leaves_nothing(
    bench: Workbench, pipeline: Pipeline, repository: GitRepository
) -> None:
    mark = f"mark-{ids.token(9)}"
    sha = repository.commit(script(f"setsid sh -c 'sleep 600; : {mark}' & sleep 600"))
    building = asyncio.ensure_future(bench.build(pipeline, repository.url, sha))
    await eventually(lambda: alive_with(mark))
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert alive_with(mark) == []


@node
@pytest.mark.parametrize("again", ["sweep", "build"])
@pytest.mark.parametrize("sandbox", ["auto", "off"])
async def test_what_a_killed_builder_left_is_ended_and_removed(
    bench: Workbench, repository: GitRepository, sandbox: str, again: str, tmp_path: Path
) -> None:
    if sandbox == "auto" and (reason := await why_no_sandbox(tmp_path)):
        pytest.skip(f"no sandbox on this host: {reason}")
    mark = f"mark-{ids.token(9)}"
    sha = repository.commit(script(f"setsid sh -c 'sleep 600; : {mark}' & sleep 600"))
    builder = await subprocesses.start(
        [sys.executable, "-c", BUILDER, str(bench.root), repository.url, sha, sandbox],
        cwd=Path.cwd(),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: alive_with(mark), timeout=30)
    finally:
        os.kill(builder.pid, signal.SIGKILL)
        await builder.wait()
    assert (bench.work_dir / "bld-killed").is_dir()
    if again == "sweep":
        assert await bench.pipeline().sweep() == ["bld-killed"]
    else:
        site = repository.commit({"index.html": "x", "package.json": '{"main": "build.sh"}'})
        await bench.build(bench.pipeline(), repository.url, site, build_id="bld-killed")
    assert alive_with(mark) == []
    assert bench.leftovers() == []
    await survivors.end("bld-killed")


@node
async def test_variables_reach_the_commands_and_never_the_log(
    pipeline: Pipeline, bench: Workbench, repository: GitRepository
) -> None:
    secret = "correct horse+battery/staple"
    text = (
        'test "$TOKEN" = "correct horse+battery/staple" || exit 9\n'
        'echo "token is $TOKEN"; printf "%s" "$TOKEN" | base64; printf "%s" "$TOKEN" | fold -w 9\n'
        'echo; printf "x%s" "$TOKEN" | base64 >&2; echo done\n'
    )
    sha = repository.commit({**script(text), "server.js": ""})
    await bench.build(pipeline, repository.url, sha, variables={"TOKEN": secret})
    assert "token is ***" in bench.log
    assert "done" in bench.log
    for part in (secret, "battery", "Y29ycmVjdCBob3JzZStiYXR0ZXJ5", "jb3JyZWN0IGhvcnNl"):
        assert part not in bench.log


@node
async def test_a_value_in_the_last_line_of_a_failure_is_masked(
    pipeline: Pipeline, bench: Workbench, repository: GitRepository
) -> None:
    sha = repository.commit({**script('echo "bad $TOKEN"; exit 3\n'), "server.js": ""})
    with pytest.raises(BuildCommandFailed) as raised:
        await bench.build(pipeline, repository.url, sha, variables={"TOKEN": "correct-horse"})
    assert "correct-horse" not in raised.value.message + bench.log
    assert "bad ***" in raised.value.message
