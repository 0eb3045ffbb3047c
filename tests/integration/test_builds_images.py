"""Dockerfiles, from the commit to the artifact, by a real Docker Engine."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import zstandard

from consumers.builds import failures
from consumers.builds.engine import EngineUnavailable
from consumers.builds.pipeline import BuildResult
from tests.support.builds import GitRepository, Workbench, alive_with
from tests.support.docker import BASE, DockerEngine, docker_engine, why_no_engine
from tests.support.eventually import eventually
from zeitwork import errors, ids

pytestmark = pytest.mark.docker
RUNS = f"FROM {BASE}\nCOPY . /srv\nWORKDIR /srv\n"
CMD = 'CMD ["sleep", "600"]\n'


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    if reason := why_no_engine():
        pytest.skip(reason)
    # Paths of sockets are short, and pytest's are long.
    place = Path(tempfile.mkdtemp(prefix="zw-docker-"))
    try:
        with docker_engine(place / "engine") as engine:
            engine.import_base()
            yield engine
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
async def bench(tmp_path: Path, engine: DockerEngine) -> AsyncIterator[Workbench]:
    bench = Workbench(tmp_path / "data", engine=engine.settings)
    yield bench
    assert bench.leftovers() == []
    await eventually(lambda: engine.containers() == [])


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repository")


async def build(
    bench: Workbench, repository: GitRepository, dockerfile: str, **files: str
) -> BuildResult:
    sha = repository.commit({"Dockerfile": dockerfile, **files})
    return await bench.build(bench.pipeline(), repository.url, sha)


def layout(bench: Workbench, result: BuildResult) -> bytes:
    """The artifact's tar archive, unpacked from its compression."""
    path = bench.root / "blobs" / result.blob.digest[:2] / result.blob.digest
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        return stream.read()


def layers(archive: bytes) -> Mapping[str, bytes]:
    """The files of an OCI layout's layers, the later layer over the earlier."""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as whole:
        held = {member.name: whole.extractfile(member) for member in whole if member.isreg()}
        blobs = {name: file.read() for name, file in held.items() if file is not None}
    (described,) = json.loads(blobs["index.json"])["manifests"]
    manifest = json.loads(blobs[blob(described["digest"])])
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(blobs[blob(layer["digest"])])) as inner:
            for member in inner:
                file = inner.extractfile(member) if member.isreg() else None
                if file is not None:
                    files[member.name] = file.read()
    return files


def blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


async def test_an_image_is_built_kept_and_runs(
    bench: Workbench, repository: GitRepository, engine: DockerEngine
) -> None:
    mark = f"mark-{ids.token(9)}"
    dockerfile = (
        f'{RUNS}RUN echo built > /made\nCMD ["sh", "-c", "cat /made; sleep 600; : {mark}"]\n'
    )
    result = await build(bench, repository, dockerfile)
    assert (result.manifest.builder, result.manifest.runtime) == ("dockerfile", "docker")
    assert result.manifest.detected[0] == "dockerfile: Dockerfile is present"
    assert "    Step 4/6 : RUN echo built > /made" in bench.lines

    for image in engine.images():
        if image["RepoTags"] != [BASE]:
            engine.ask("DELETE", f"/images/{image['Id']}?force=1")
    (said,) = engine.ask("POST", "/images/load?quiet=1", layout(bench, result))
    image_id = said["stream"].partition("ID: ")[2].strip()
    body = json.dumps({"Image": image_id, "HostConfig": {"NetworkMode": "none"}}).encode()
    (made,) = engine.ask("POST", "/containers/create", body, kind="application/json")
    try:
        engine.ask("POST", f"/containers/{made['Id']}/start")
        await eventually(lambda: alive_with(mark))
    finally:
        engine.ask("DELETE", f"/containers/{made['Id']}?force=1")


async def test_the_image_sees_the_repository_and_nothing_of_the_platform(
    bench: Workbench, repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEITWORK_API_TOKEN", "s3cret-of-the-platform")
    secret = "s3cret-of-the-project"
    files = {
        "Dockerfile": f"{RUNS}ARG TOKEN\nARG COLOUR\nRUN env > /env; cat /proc/net/dev > /net\n"
        + CMD,
        ".dockerignore": "# not these\nDockerfile\nprivate\n**/*.key\n!kept.key\n",
        "zeitwork.toml": '[env]\nCOLOUR = "red"\n',
        "page": "hello",
        "private/notes": "mine",
        "deep/a.key": "key",
        "kept.key": "key",
    }
    sha = repository.commit(files)
    result = await bench.build(bench.pipeline(), repository.url, sha, variables={"TOKEN": secret})
    archive = layout(bench, result)
    found = layers(archive)
    own = {name for name in found if name.startswith("srv/")}
    assert own == {f"srv/{name}" for name in (".dockerignore", "zeitwork.toml", "page", "kept.key")}
    assert b"COLOUR=red" in found["env"]
    assert b"eth0" not in found["net"], "the settings give no network"
    assert b"s3cret" not in archive


async def test_a_change_of_code_takes_layers_of_its_own_repository_alone(
    bench: Workbench, repository: GitRepository, engine: DockerEngine, tmp_path: Path
) -> None:
    text = f"FROM {BASE}\nRUN echo installed > /installed\nCOPY . /srv\n{CMD}"
    before = len(engine.images())
    await build(bench, repository, text, page="1")
    assert "     ---> Using cache" not in bench.lines
    await build(bench, repository, text, page="2")
    assert "     ---> Using cache" in bench.lines
    other = GitRepository(tmp_path / "other")
    await build(bench, other, text, page="1")
    assert "     ---> Using cache" not in bench.lines
    assert len(engine.images()) == before + 2, "each repository keeps one image"
    await bench.pipeline().sweep()
    assert len(engine.images()) == before + 2, "they are of use for a month"


BAD: dict[str, tuple[str, type[errors.BuildFailed], str]] = {
    "no Dockerfile that is understood": (
        "FORM scratch\n",
        failures.DockerfileInvalid,
        "unknown instruction: FORM",
    ),
    "a base image that is not there": (
        "FROM zeitwork-test/nonesuch:1\n",
        failures.BaseImageUnavailable,
        "Check its name and tag",
    ),
    "a program that fails": (
        f"FROM {BASE}\nRUN echo because; exit 7\n",
        errors.BuildCommandFailed,
        "exit code 7. Its last line was: because",
    ),
    "a program that wants too much memory": (
        f"FROM {BASE}\nRUN busybox head -c 300m /dev/zero | busybox tail -c 300m > /held\n",
        errors.BuildOutOfMemory,
        "more than the 64 MiB",
    ),
    "a file that is not there": (
        f"FROM {BASE}\nCOPY nonesuch /srv\n",
        errors.BuildCommandFailed,
        "COPY of the Dockerfile failed",
    ),
    "a file outside of the repository": (
        f"FROM {BASE}\nCOPY ../../../etc/shadow /srv\n",
        errors.BuildCommandFailed,
        "COPY of the Dockerfile failed",
    ),
    "nothing to start": (f"FROM {BASE}\nCOPY . /srv\n", failures.NoStartCommand, "neither"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_ends_with_its_code(
    bench: Workbench, repository: GitRepository, case: str
) -> None:
    dockerfile, failure, advice = BAD[case]
    sha = repository.commit({"Dockerfile": dockerfile})
    with pytest.raises(errors.BuildFailed) as caught:
        await bench.build(bench.pipeline(memory_mib=64), repository.url, sha)
    assert type(caught.value) is failure, (caught.value.message, bench.log)
    assert advice in caught.value.message, caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("how", ["cancelled", "too long"])
async def test_a_build_that_hangs_ends_at_once_with_what_it_started(
    bench: Workbench, repository: GitRepository, how: str
) -> None:
    mark = f"mark-{ids.token(9)}"
    hang = f"(trap '' TERM; sleep 600; : {mark}) & sleep 600; : {mark}"
    sha = repository.commit({"Dockerfile": f"FROM {BASE}\nRUN {hang}\n"})
    pipeline = bench.pipeline(timeout_seconds=8.0 if how == "too long" else 45.0)
    building = asyncio.ensure_future(bench.build(pipeline, repository.url, sha))
    await eventually(lambda: alive_with(f": {mark}"))
    if how == "cancelled":
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
    else:
        with pytest.raises(errors.BuildTimedOut, match="The last step was: Building with"):
            await building
    await eventually(lambda: alive_with(mark) == [], timeout=2)


async def test_an_engine_that_is_away_is_tried_again_later(
    tmp_path: Path, repository: GitRepository
) -> None:
    away = DockerEngine(tmp_path / "nobody.sock").settings
    bench = Workbench(tmp_path / "data", engine=away)
    await bench.pipeline().sweep()
    with pytest.raises(EngineUnavailable, match="does not answer") as caught:
        await build(bench, repository, RUNS)
    assert caught.value.retryable
    assert bench.leftovers() == []
