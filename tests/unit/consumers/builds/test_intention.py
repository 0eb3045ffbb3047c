"""From the files of a directory to what will be done: which file has the last word."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest

from consumers.builds import builders, intention
from consumers.builds.failures import (
    DockerfileUnsupported,
    GitLfsPointer,
    InvalidZeitworkToml,
    NoStartCommand,
    ProcfileWithoutWeb,
)
from consumers.builds.intention import Intention
from zeitwork.errors import SourceUnavailable

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


async def intended(folder: Path, files: dict[str, str], root: str = "") -> Intention:
    write(folder, files)
    seen = intention.look(folder, root, Event())
    understood = intention.understand(seen.listing, seen.file)
    return intention.intend(await builders.create(understood.detection.kind), understood)


async def test_zeitwork_toml_comes_before_the_procfile(tmp_path: Path) -> None:
    done = await intended(
        tmp_path,
        {
            "main.py": "",
            "Procfile": "web: one\r\nworker: two # by the side\r\n\r\nrelease: three\r\n",
            "zeitwork.toml": 'start = "four"\nhealth_path = "/up"\n[env]\nLEVEL = "info"\n',
        },
    )
    manifest = done.manifest
    assert manifest.processes == {"web": "four", "worker": "two"}
    assert manifest.release == "three"
    assert manifest.env["LEVEL"] == done.plan.build_env["LEVEL"] == "info"
    assert manifest.declared == {
        "start": "four", "health_path": "/up", "env": {"LEVEL": "info"},
    }  # fmt: skip
    assert "web: `four`, as zeitwork.toml says" in done.lines


async def test_the_root_of_zeitwork_toml_is_below_its_own_directory(tmp_path: Path) -> None:
    files = {"apps/zeitwork.toml": 'root = "api"', "apps/api/main.py": "", "index.html": ""}
    assert (await intended(tmp_path, files, root="apps")).builder.name == "python"
    assert (await intended(tmp_path, {}, root="")).builder.name == "static"


async def test_the_builder_that_is_named_is_taken(tmp_path: Path) -> None:
    files = {"index.html": "", "package.json": "{}", "zeitwork.toml": 'builder = "static"'}
    done = await intended(tmp_path, files)
    assert done.lines[:2] == (
        "static: zeitwork.toml names it as builder",
        "not node: package.json is present, but static is named as builder",
    )


async def test_a_start_command_makes_an_application_of_anything(tmp_path: Path) -> None:
    done = await intended(tmp_path, {"zeitwork.toml": 'build = "make"\nstart = "./serve"'})
    assert done.builder.name == "command"
    assert [command.text for command in done.plan.all_commands] == ["make"]


@pytest.mark.parametrize("toml", ['builder = "dockerfile"', ""])
async def test_a_dockerfile_is_refused_with_what_to_add(tmp_path: Path, toml: str) -> None:
    with pytest.raises(DockerfileUnsupported, match=r"Docker Engine.*requirements\.txt"):
        await intended(tmp_path, {"Dockerfile": "FROM x", "zeitwork.toml": toml})


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        ({"main.py": ""}, "declares worker, but .* `web: python main.py`"),
        ({"shop.py": "", "requirements.txt": "six"}, "`web: COMMAND`"),
        ({"index.html": ""}, "`web: COMMAND`"),
    ],
)
async def test_a_procfile_without_web_is_refused_with_the_line_to_add(
    tmp_path: Path, files: dict[str, str], advice: str
) -> None:
    with pytest.raises(ProcfileWithoutWeb, match=advice):
        await intended(tmp_path, {**files, "Procfile": "worker: python work.py\nweb:\n"})


async def test_a_procfile_that_lists_no_process_leaves_it_to_the_builder(tmp_path: Path) -> None:
    files = {"main.py": "", "Procfile": "# none\nrelease: python migrate.py\n"}
    done = await intended(tmp_path, files)
    assert done.manifest.processes == {"web": "python main.py"}
    assert done.manifest.release == "python migrate.py"


async def test_the_command_builder_needs_to_be_told(tmp_path: Path) -> None:
    with pytest.raises(NoStartCommand, match=r"add `start` to zeitwork\.toml"):
        await intended(tmp_path, {"x": "", "zeitwork.toml": 'builder = "command"'})


async def test_a_pointer_to_git_lfs_is_named(tmp_path: Path) -> None:
    with pytest.raises(GitLfsPointer, match=r"img/logo\.png is a pointer"):
        await intended(tmp_path, {"index.html": "", "img/logo.png": POINTER})
    write(tmp_path, {"img/logo.png": "x" * len(POINTER)})
    await intended(tmp_path, {})


async def test_a_link_in_the_place_of_zeitwork_toml_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password = 'x'")
    app = tmp_path / "app"
    app.mkdir()
    (app / "zeitwork.toml").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidZeitworkToml, match="is a link"):
        await intended(app, {"index.html": ""})


async def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"index.html": ""})
    place = tmp_path / "zeitwork.toml"
    place.write_bytes(b'start = "x"\nbuild = "\xff"\n')
    with pytest.raises(InvalidZeitworkToml, match="line 2, column 10: not UTF-8"):
        intention.read_file(tmp_path)
    place.write_bytes(b"#" * 70_000)
    with pytest.raises(InvalidZeitworkToml, match="larger than 64 KiB"):
        intention.read_file(tmp_path)
    place.unlink()
    place.mkdir()
    with pytest.raises(InvalidZeitworkToml, match="is a directory"):
        intention.read_file(tmp_path)
    place.rmdir()
    os.mkfifo(place)
    assert intention.read_file(tmp_path).start is None  # nobody writes: it does not wait


async def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="no directory 'apps'"):
        await intended(tmp_path, {"zeitwork.toml": 'root = "apps"'})
