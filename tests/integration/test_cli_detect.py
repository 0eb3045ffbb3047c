"""`zeitwork detect`, as people run it in their own checkout: without a platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.exits import Exit
from tests.support.cli import Cli


@pytest.fixture
def cli() -> Cli:
    return Cli({})


async def test_it_says_what_why_and_what_would_run(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six")
    (tmp_path / "main.py").touch()
    (tmp_path / "index.html").touch()
    (tmp_path / "zeitwork.toml").write_text('build = "make"\n')
    done = await cli("detect", str(tmp_path))
    assert done.code == Exit.OK
    first, nearly, web, from_, *commands = done.out.splitlines()
    assert first == "python: requirements.txt is present"
    assert nearly == "not static: index.html is present, but python comes first"
    assert web == "web: `python main.py`, because main.py is present"
    assert from_ == "dependencies: from requirements.txt"
    assert commands[-1] == "$ make"
    assert all(command.startswith("$ uv ") for command in commands[:-1])
    asked = await cli("detect", str(tmp_path), "--json")
    assert asked.json["builder"] == "python"
    assert asked.json["declared"] == {"build": "make"}
    assert asked.json["commands"][-1] == "make"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.html", "main.py", "requirements.txt", "zeitwork.toml",
    ]  # fmt: skip


async def test_a_dockerfile_is_for_the_engine_that_is_configured(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    without = await Cli({})("detect", str(tmp_path))
    assert without.code == Exit.DEPLOYMENT_FAILED
    assert "a Dockerfile was found but no Docker Engine; set" in " ".join(without.err.split())
    away = Cli({"ZEITWORK_CONSUMERS__DOCKER_ENGINE": f"unix://{tmp_path}/nobody"})
    done = await away("detect", str(tmp_path))
    assert (done.code, done.out.strip()) == (Exit.OK, "dockerfile: Dockerfile is present")
    assert "does not answer" in " ".join(done.err.split())


async def test_what_is_wrong_is_said_with_its_code(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "zeitwork.toml").write_text("\n buildr = 1\n")
    done = await cli("detect", str(tmp_path))
    assert done.code == Exit.DEPLOYMENT_FAILED
    said = " ".join(done.err.split())
    assert "[invalid_zeitwork_toml] zeitwork.toml, line 2, column 2: buildr is not a key" in said
    assert said.endswith("did you mean builder?")
    assert (await cli("detect", str(tmp_path / "missing"))).code == Exit.NOT_FOUND


async def test_the_verdict_stands_without_the_tools(tmp_path: Path) -> None:
    cli = Cli({"PATH": "/nonexistent"})
    (tmp_path / "package.json").write_text("{}")
    done = await cli("detect", str(tmp_path))
    assert done.code == Exit.OK
    assert done.out.strip() == "node: package.json is present"
    assert "Node.js" in done.err
