"""Which builder a repository is for."""

from __future__ import annotations

import pytest

from consumers.builds.detect import Kind, detect, package_table, project_table
from consumers.builds.listing import Listing
from consumers.builds.project_file import ProjectFile
from zeitwork.errors import BuildFailed, NothingDetected

NO_ENGINE = "a Dockerfile was found but no Docker Engine; set ZEITWORK_CONSUMERS__DOCKER_ENGINE"

PROJECT = '[project]\nname = "shop"\n'


def listing(*names: str, **texts: str) -> Listing:
    """`package_json` stands for package.json."""
    held = {name.replace("_", "."): text for name, text in texts.items()}
    return Listing(frozenset({*names, *held}), held)


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (listing("requirements.txt", "main.py"), "python"),
        (listing(pyproject_toml=PROJECT), "python"),
        (listing(pyproject_toml='[tool.poetry]\nname = "shop"\n'), "python"),
        (listing("main.py"), "python"),
        (listing("manage.py", "index.html"), "python"),
        (listing("requirements.txt", package_json="{}"), "python"),
        (listing("main.py", package_json="{}"), "node"),
        (listing("index.html", package_json="{}"), "node"),
        (listing("index.html", pyproject_toml="[tool.ruff]\nline-length = 88\n"), "static"),
        (listing("index.html"), "static"),
        (listing("public/index.html"), "static"),
        (listing("dist/index.html", "Dockerfile"), "static"),
    ],
)
def test_a_repository_is_recognised(seen: Listing, kind: Kind) -> None:
    assert detect(seen).kind == kind


def test_the_verdict_says_what_it_decided_against() -> None:
    seen = listing("requirements.txt", "index.html", "Dockerfile", package_json="{}")
    assert detect(seen).lines == (
        "python: requirements.txt is present",
        "not node: package.json is present, but python comes first",
        "not static: index.html is present, but python comes first",
        f"Dockerfile is ignored: {NO_ENGINE}",
    )


def test_with_an_engine_a_dockerfile_comes_first_unless_another_builder_is_named() -> None:
    seen = listing("requirements.txt", "Dockerfile")
    assert detect(seen, engine=True).lines == (
        "dockerfile: Dockerfile is present",
        "not python: requirements.txt is present, but dockerfile comes first",
    )
    named = ProjectFile(builder="python")
    assert detect(seen, named, engine=True).lines == (
        "python: zeitwork.toml names it as builder",
        "not dockerfile: Dockerfile is present, but python is named as builder",
    )
    assert detect(listing("requirements.txt"), engine=True).kind == "python"
    assert detect(listing("Dockerfile"), engine=True).kind == "dockerfile"


@pytest.mark.parametrize(
    ("seen", "hint"),
    [
        (listing(), "holds no files"),
        (listing("README.md"), "No builder recognises"),
        (listing("shop.py"), "shop.py is present, but neither requirements.txt nor main.py"),
        (listing("Pipfile"), "Pipfile is present"),
        (listing("server.js"), "server.js is present, but no package.json"),
        (listing("docs/index.html"), "set docs as the root directory"),
        (listing("about.html"), "about.html is present, but no index.html"),
        (listing("go.mod"), "Go is not supported yet"),
        (listing("shop.py"), "add one of them"),
        (listing("server.js"), "add one with a start script"),
        (listing("web/package.json", "api/requirements.txt"), "like applications: api, web"),
        (listing(pyproject_toml="[tool.ruff]\n"), "a [project] table is missing"),
    ],
)
def test_what_is_not_recognised_gets_advice(seen: Listing, hint: str) -> None:
    with pytest.raises(NothingDetected) as caught:
        detect(seen)
    assert hint in caught.value.message
    assert "root directory" in caught.value.message


@pytest.mark.parametrize("text", ["= 1", "[", "x = " + "[" * 9000, "x = " + "1" * 9000, "\x00"])
def test_a_hostile_pyproject_is_a_failed_build(text: str) -> None:
    with pytest.raises(BuildFailed, match=r"pyproject\.toml is not valid TOML"):
        project_table(listing(pyproject_toml=text))


@pytest.mark.parametrize("text", ["{", "[" * 99_999, '{"a": ' + "1" * 9000 + "}", "\ufeff{}"])
def test_a_hostile_package_json_is_a_failed_build(text: str) -> None:
    with pytest.raises(BuildFailed, match=r"package\.json is not valid JSON"):
        package_table(listing(package_json=text))


@pytest.mark.parametrize("text", ["[]", '"x"', "null", "1"])
def test_package_json_must_hold_an_object(text: str) -> None:
    with pytest.raises(BuildFailed, match="JSON object"):
        package_table(listing(package_json=text))
