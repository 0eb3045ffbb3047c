"""Dependencies from an earlier build: when they are taken over, and that nothing needs them."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import zstandard

from consumers.builds.pipeline import BuildResult, Pipeline
from tests.support.builds import GitRepository, Workbench, why_no_sandbox
from tests.support.package_index import PackageIndex, package_index

PYTHON = {"requirements.txt": "tiny==1.0\n", "main.py": "import tiny\n"}
Damage = Callable[[Path], object]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path / "data")
    yield bench
    assert bench.leftovers() == []


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with package_index() as index:
        for name, value in index.environment.items():
            monkeypatch.setenv(name, value)
        yield index


@pytest.fixture(params=["python", "node"])
def files(request: pytest.FixtureRequest, index: PackageIndex) -> dict[str, str]:
    """An application with one dependency, in either world."""
    if request.param == "python":
        return PYTHON
    if shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    package = {"name": "shop", "version": "1.0.0", "dependencies": {"tiny": "1.0.0"}}
    return {
        "package.json": json.dumps({**package, "main": "server.js"}),
        "package-lock.json": index.npm_lock("shop"),
        "server.js": "require('tiny');\n",
    }


class Project:
    """A repository that is built again and again."""

    def __init__(self, bench: Workbench, path: Path, pipeline: Pipeline | None = None) -> None:
        self.bench = bench
        self.repository = GitRepository(path)
        self._pipeline = pipeline or bench.pipeline()

    async def build(
        self, variables: Mapping[str, str] | None = None, /, **files: str
    ) -> BuildResult:
        sha = self.repository.commit(files)
        return await self.bench.build(self._pipeline, self.repository.url, sha, variables=variables)

    def installed(self) -> bool:
        """Whether the last build ran an installer."""
        return any(line.startswith(("    $ uv", "    $ npm ci")) for line in self.bench.lines)

    @property
    def layers(self) -> list[Path]:
        return sorted(self.bench.root.glob("cache/*/layers/*"))

    def module(self, result: BuildResult) -> str:
        """The dependency's source in the artifact."""
        wanted = ("site-packages/tiny.py", "node_modules/tiny/index.js")
        for path in self.bench.archives(result):
            with (
                path.open("rb") as file,
                zstandard.ZstdDecompressor().stream_reader(file) as stream,
                tarfile.open(fileobj=stream, mode="r|") as archive,
            ):
                for member in archive:
                    if member.name.endswith(wanted):
                        opened = archive.extractfile(member)
                        assert opened is not None
                        return opened.read().decode()
        raise AssertionError("the dependency is not in the artifact")


@pytest.mark.parametrize("sandbox", ["auto", "off"])
async def test_a_change_of_code_alone_installs_nothing(
    bench: Workbench, files: dict[str, str], index: PackageIndex, sandbox: str, tmp_path: Path
) -> None:
    if sandbox == "auto" and (reason := await why_no_sandbox(tmp_path)):
        pytest.skip(f"no sandbox on this host: {reason}")
    pipeline = bench.pipeline(sandbox=sandbox)  # type: ignore[arg-type]
    project = Project(bench, tmp_path / "repository", pipeline)
    first = await project.build(**files)
    assert project.installed()
    index.asked.clear()
    second = await project.build(**{"extra.txt": "changed"})
    assert not project.installed()
    assert index.asked == []
    assert "red" in project.module(second)
    # Nor is anything stored or fetched again but the application.
    assert first.dependencies is not None
    assert second.dependencies == first.dependencies
    assert second.blob.size < second.dependencies.size
    assert len(list((bench.root / "blobs").glob("??/*"))) == 3


async def test_what_a_fork_leaves_in_its_cache_reaches_no_other_build(
    bench: Workbench, files: dict[str, str], index: PackageIndex, tmp_path: Path
) -> None:
    """Nor does it take over what others left: a layer may be of a private package."""
    project = Project(bench, tmp_path / "repository")
    sha = project.repository.commit(files)
    pipeline, url = bench.pipeline(), project.repository.url
    for _ in range(2):
        await bench.build(pipeline, url, sha, trusted=False)
        assert project.installed()
        assert not (bench.root / "cache").exists()
    await bench.build(pipeline, url, sha)
    assert project.installed()
    before = sorted((bench.root / "cache").rglob("*"))
    await bench.build(pipeline, url, sha, trusted=False)
    assert project.installed()
    assert sorted((bench.root / "cache").rglob("*")) == before
    assert index.asked != []


async def test_a_change_of_what_is_declared_installs_anew(
    bench: Workbench, index: PackageIndex, tmp_path: Path
) -> None:
    assert index.asked == []
    project = Project(bench, tmp_path / "repository")
    await project.build(**PYTHON)
    await project.build(**{"requirements.txt": "tiny>=1\n"})
    assert project.installed()
    await project.build(**{"requirements.txt": "tiny==1.0\n"})
    assert not project.installed()
    await project.build(**{"zeitwork.toml": "[env]\nSETTING = '1'\n"})
    assert project.installed()


async def test_other_variables_of_the_project_install_anew(
    bench: Workbench, files: dict[str, str], tmp_path: Path
) -> None:
    """Installers follow them: NODE_ENV, say, leaves development dependencies out."""
    project = Project(bench, tmp_path / "repository")
    for value in ("development", "production"):
        await project.build({"NODE_ENV": value}, **files)
        assert project.installed()
    await project.build({"NODE_ENV": "development"}, **files)
    assert not project.installed()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda layer: layer.unlink(), id="gone"),
        pytest.param(lambda layer: layer.write_bytes(b""), id="empty"),
        pytest.param(lambda layer: layer.write_bytes(layer.read_bytes()[:-9]), id="cut"),
        pytest.param(
            lambda layer: layer.write_bytes(layer.read_bytes()[:-1] + b"\0"), id="one byte"
        ),
        pytest.param(lambda layer: shutil.rmtree(layer.parents[2]), id="with the whole cache"),
        pytest.param(lambda layer: (layer.unlink(), layer.mkdir()), id="a directory"),
    ],
)
async def test_a_damaged_layer_is_made_anew_and_gives_the_same_artifact(
    bench: Workbench, files: dict[str, str], damage: Damage, tmp_path: Path
) -> None:
    project = Project(bench, tmp_path / "repository")
    first = await project.build(**files)
    [layer] = project.layers
    damage(layer)
    again = await project.build()
    assert project.installed()
    assert again.layers == first.layers
    assert (await project.build()).layers == first.layers
    assert not project.installed()


async def test_a_build_step_cannot_change_what_later_builds_take_over(
    bench: Workbench, files: dict[str, str], tmp_path: Path
) -> None:
    project = Project(bench, tmp_path / "repository")
    module = "node_modules/tiny/index.js" if "package.json" in files else ".venv/lib/*/*/tiny.py"
    plant = f"for file in {module} /cache/../layers/*; do echo planted > $file; done || true"
    first = await project.build(**files, **{"zeitwork.toml": f'build = "{plant}"'})
    assert project.module(first) == "planted\n"
    second = await project.build(**{"zeitwork.toml": 'build = "true"'})
    assert not project.installed()
    assert "red" in project.module(second)


async def test_a_link_in_the_repository_does_not_lead_a_layer_astray(
    bench: Workbench, index: PackageIndex, tmp_path: Path
) -> None:
    assert index.asked == []
    project = Project(bench, tmp_path / "repository")
    await project.build(**PYTHON)
    target = project.repository.path / "kept"
    target.mkdir()
    (target / "file").write_text("kept")
    (project.repository.path / ".venv").symlink_to("kept")
    second = await project.build()
    assert not project.installed()
    assert "red" in project.module(second)


async def test_few_layers_are_kept(bench: Workbench, index: PackageIndex, tmp_path: Path) -> None:
    assert index.asked == []
    project = Project(bench, tmp_path / "repository")
    for number in range(5):
        await project.build(**{**PYTHON, "requirements.txt": f"tiny>={number / 10}\n"})
    assert len(project.layers) == 3
