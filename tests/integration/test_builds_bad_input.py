"""What people get wrong: each ends the build with its own code, and says what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.builds import failures
from tests.support.builds import GitRepository, Workbench
from tests.support.package_index import PackageIndex, package_index
from zeitwork import errors
from zeitwork.errors import BuildFailed

LOCK = """version = 1
revision = 1
requires-python = ">=3.9"

[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
"""
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
HUNGRY = "python3 -c 'held = bytearray(8 << 30)'"


def project(**more: object) -> str:
    listed = "".join(
        f"{key.replace('_', '-')} = {json.dumps(value)}\n" for key, value in more.items()
    )
    return f'[project]\nname = "shop"\nversion = "1"\n{listed}'


def package(**more: object) -> str:
    whole = {"name": "shop", "version": "1.0.0", "scripts": {"start": "node server.js"}}
    return json.dumps({**whole, **more})


def told_to_run(build: str) -> dict[str, str]:
    return {"zeitwork.toml": f'build = """{build}"""\nstart = "./serve"\n'}


CASES: dict[str, tuple[dict[str, str], type[BuildFailed], str]] = {
    "a Python that is missing": (
        {".python-version": "3.4\n", "main.py": ""},
        failures.PythonVersionMissing,
        r"Change or remove \.python-version",
    ),
    "a Python that the project rules out": (
        {"pyproject.toml": project(requires_python="<3.0"), "main.py": ""},
        failures.PythonVersionMissing,
        "Widen requires-python",
    ),
    "a Node that is missing": (
        {"package.json": package(engines={"node": "^4"})},
        failures.NodeVersionMissing,
        "Change engines",
    ),
    "a private Python package": (
        {"requirements.txt": "ours==1.0", "main.py": ""},
        failures.DependencyUnavailable,
        "if it is private",
    ),
    "a private npm package": (
        {"package.json": package(dependencies={"ours": "1.0.0"})},
        failures.DependencyUnavailable,
        "if it is private",
    ),
    "a Python package that does not exist": (
        {"requirements.txt": "nonesuch==1.0", "main.py": ""},
        failures.DependencyUnavailable,
        "Check its name",
    ),
    "a version that does not exist": (
        {"package.json": package(dependencies={"tiny": "9.0.0"})},
        failures.DependencyUnavailable,
        "Check its name and version",
    ),
    "a private repository among the dependencies": (
        {"requirements.txt": "ours @ git+http://127.0.0.1:1/ours.git", "main.py": ""},
        failures.DependencyUnavailable,
        "if it is private",
    ),
    "a uv.lock out of step": (
        {"pyproject.toml": project(dependencies=["tiny"]), "uv.lock": LOCK, "main.py": ""},
        failures.LockFileOutdated,
        "Run `uv lock` and commit",
    ),
    "a package-lock.json out of step": (
        {
            "package.json": package(dependencies={"tiny": "1.0.0"}),
            "package-lock.json": json.dumps(
                {"name": "shop", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {}}}
            ),
        },
        failures.LockFileOutdated,
        "Run `npm install` and commit",
    ),
    "too little memory": (told_to_run(HUNGRY), errors.BuildOutOfMemory, "1024 MiB"),
    "a file without end": (
        told_to_run("truncate -s 5G huge"),
        failures.BuildOutOfDisk,
        "write less",
    ),
    "no start command": (
        {"requirements.txt": "tiny"},
        failures.NoStartCommand,
        "add a Procfile",
    ),
    "a pointer to Git LFS": (
        {"index.html": "", "logo.png": POINTER},
        failures.GitLfsPointer,
        "Commit the file itself",
    ),
    "a zeitwork.toml that is not TOML": (
        {"index.html": "", "zeitwork.toml": 'start = "x\n'},
        failures.InvalidZeitworkToml,
        "line 1, column 11",
    ),
    "an unknown key": (
        {"index.html": "", "zeitwork.toml": "\nstart_comand = 'x'\n"},
        failures.InvalidZeitworkToml,
        "line 2, column 1: start_comand is not a key",
    ),
    "a Procfile without web": (
        {"main.py": "", "Procfile": "worker: python work.py\r\n"},
        failures.ProcfileWithoutWeb,
        "`web: python main.py`",
    ),
    "only a Dockerfile": (
        {"Dockerfile": "FROM scratch\n"},
        failures.DockerfileUnsupported,
        "Docker Engine",
    ),
    "nothing that is known": ({"README.md": ""}, errors.NothingDetected, "Add requirements.txt"),
}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path / "data")
    yield bench
    assert bench.leftovers() == []


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repository")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with package_index() as index:
        index.refuse.add("ours")
        for name, value in index.environment.items():
            monkeypatch.setenv(name, value)
        yield index


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("case", CASES)
async def test_bad_input_ends_with_its_code(
    bench: Workbench, repository: GitRepository, case: str
) -> None:
    files, failure, advice = CASES[case]
    if "package.json" in files and shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    sha = repository.commit(files)
    with pytest.raises(BuildFailed) as caught:
        await bench.build(bench.pipeline(), repository.url, sha)
    assert (caught.value.code, type(caught.value)) == (failure.code, failure), bench.log
    assert re.search(advice, caught.value.message), caught.value.message
    assert len(caught.value.message.splitlines()) == 1, "it becomes the last line of the log"
    assert not caught.value.retryable


async def test_a_repository_of_too_many_files_is_not_checked_out(
    bench: Workbench, repository: GitRepository
) -> None:
    blob = repository.git("hash-object", "-w", "--stdin", text="x")
    row = repository.git(
        "mktree", text="".join(f"100644 blob {blob}\tf{number}\n" for number in range(1000))
    )
    tree = repository.git(
        "mktree", text="".join(f"040000 tree {row}\td{number}\n" for number in range(101))
    )
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    sha = repository.git(*identity, "commit-tree", tree, "-m", "Huge")
    repository.git("update-ref", "refs/heads/main", sha)
    with pytest.raises(failures.SourceTooLarge, match=r"more than 100000 files\. Take out"):
        await bench.build(bench.pipeline(), repository.url, sha)
