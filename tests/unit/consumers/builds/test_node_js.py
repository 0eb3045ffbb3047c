"""Node applications: what npm is asked to do, and how they are started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.builds.builders.caddyfile import COMMAND
from consumers.builds.builders.node_js import NodeBuilder
from consumers.builds.declared import Declared
from consumers.builds.failures import NodeVersionMissing, NoStartCommand
from consumers.builds.listing import Listing
from consumers.builds.plan import Plan
from consumers.builds.toolchains import Toolchain

SCRIPTS = {"start": "node server.js"}


def plan(
    package: Any, *names: str, declared: Declared | None = None, nvmrc: str | None = None
) -> Plan:
    held = {"package.json": json.dumps(package)} | ({".nvmrc": nvmrc} if nvmrc else {})
    builder = NodeBuilder(Toolchain("20.1.0", Path("/usr/bin/node")))
    return builder.plan(Listing(frozenset({*names, *held}), held), declared or Declared())


def texts(made: Plan) -> list[str]:
    """Every command, those that install the dependencies included."""
    return [command.text for command in made.all_commands]


@pytest.mark.parametrize(
    ("package", "names", "commands"),
    [
        ({"scripts": SCRIPTS}, (), []),
        ({"scripts": SCRIPTS, "dependencies": {}}, (), []),
        ({"scripts": SCRIPTS, "dependencies": {"a": "1"}}, (), ["npm install --omit=dev"]),
        (
            {"scripts": SCRIPTS, "dependencies": {"a": "1"}},
            ("package-lock.json",),
            ["npm ci --omit=dev"],
        ),
        (
            {"scripts": {**SCRIPTS, "build": "tsc"}, "devDependencies": {"a": "1"}},
            ("package-lock.json",),
            ["npm ci", "npm run build", "npm prune --omit=dev"],
        ),
        ({"scripts": {**SCRIPTS, "build": "make"}}, (), ["npm run build"]),
        ({"scripts": SCRIPTS, "workspaces": ["a"]}, (), ["npm install --omit=dev"]),
        ({"scripts": SCRIPTS, "dependencies": ["a"]}, (), []),
    ],
)
def test_npm_runs_only_when_there_is_something_to_do(
    package: Any, names: tuple[str, ...], commands: list[str]
) -> None:
    assert texts(plan(package, *names)) == commands


@pytest.mark.parametrize(
    ("package", "names", "command"),
    [
        ({"scripts": SCRIPTS, "main": "x.js"}, ("x.js",), "npm start"),
        ({"main": "x.js"}, ("x.js", "server.js"), "node x.js"),
        ({"main": "./lib/x"}, ("lib/x.js",), "node lib/x.js"),
        ({"main": "lib/"}, ("lib/index.js",), "node lib/index.js"),
        ({"main": "a b.js"}, ("a b.js",), "node 'a b.js'"),
        ({"main": "x;rm -rf /.js"}, ("x;rm -rf /.js",), "node 'x;rm -rf /.js'"),
        ({"main": "../../etc/x.js"}, ("index.js",), "node index.js"),
        ({"main": 3}, ("app.js",), "node app.js"),
        ({"scripts": "x"}, ("main.js", "server.js"), "node server.js"),
    ],
)
def test_how_it_is_started(package: Any, names: tuple[str, ...], command: str) -> None:
    assert plan(package, *names).processes == {"web": command}


def test_without_a_start_command_the_message_says_what_to_add() -> None:
    with pytest.raises(NoStartCommand, match="no start script"):
        plan({"main": "missing.js"}, "lib/a.js")


def test_the_procfile_decides() -> None:
    declared = Declared({"web": "node x.js", "worker": "node y.js"})
    assert plan({"scripts": SCRIPTS}, declared=declared).processes == declared.processes
    only_worker = plan({"scripts": SCRIPTS}, declared=Declared({"worker": "w"}))
    assert only_worker.processes == {"web": "npm start", "worker": "w"}


@pytest.mark.parametrize(
    ("tool", "folder", "fallback"),
    [
        ("vite", "dist", ["try_files"]),
        ("astro", "dist", []),
        ("react-scripts", "build", ["try_files"]),
    ],
)
def test_a_site_is_built_and_served_without_node(
    tool: str, folder: str, fallback: list[str]
) -> None:
    made = plan({"scripts": {"build": "x"}, "devDependencies": {tool: "1"}}, "index.html")
    assert made.site == folder
    assert made.processes == {"web": COMMAND}
    (caddyfile,) = made.files.values()
    assert f"root * {folder}\n" in caddyfile
    assert [word for word in caddyfile.split() if word == "try_files"] == fallback
    assert texts(made) == [
        "npm install", "npm run build", "rm -rf node_modules",
    ]  # fmt: skip


def test_a_site_with_a_start_script_is_a_server() -> None:
    made = plan({"scripts": {"build": "x", **SCRIPTS}, "dependencies": {"astro": "1"}})
    assert made.site is None
    assert made.processes == {"web": "npm start"}


def test_a_lock_of_another_installer_is_noted() -> None:
    made = plan({"scripts": SCRIPTS}, "yarn.lock")
    assert "yarn.lock is ignored: dependencies are resolved by npm" in made.notes
    assert len(plan({"scripts": SCRIPTS}).notes) == 1


@pytest.mark.parametrize("wanted", ["20", "v20\n", "lts/*", "lts/iron", "node", "20.1.0", ">=18"])
def test_this_node_may_be_asked_for(wanted: str) -> None:
    plan({"scripts": SCRIPTS}, nvmrc=wanted)
    plan({"scripts": SCRIPTS, "engines": {"node": wanted}})


@pytest.mark.parametrize("wanted", ["18", "v22.1.0\n", "^18 || >=21", "20.0.x", "<20"])
def test_another_node_is_refused(wanted: str) -> None:
    with pytest.raises(NodeVersionMissing, match=r"\.nvmrc asks for .* this machine has 20\.1\.0"):
        plan({"scripts": SCRIPTS}, nvmrc=wanted)
    with pytest.raises(NodeVersionMissing, match=r"package\.json asks for"):
        plan({"scripts": SCRIPTS, "engines": {"node": wanted}})


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ({"dependencies": {"a": "file:../a"}}, ()),
        ({"dependencies": {"a": "./a"}}, ()),
        ({"dependencies": {"a": "1"}, "workspaces": ["b"]}, ()),
        ({"dependencies": {"a": "1"}, "scripts": {"postinstall": "patch-package"}}, ()),
        ({"dependencies": {"a": "1"}}, ("binding.gyp",)),
    ],
)
def test_what_depends_on_other_files_of_the_repository_is_installed_each_time(
    package: Any, names: tuple[str, ...]
) -> None:
    made = plan({**package, "main": "server.js"}, "server.js", *names)
    assert made.layer is None
    assert made.commands[0].text == "npm install --omit=dev"


def test_a_site_of_astro_with_a_server_adapter_is_a_server() -> None:
    package = {"scripts": {"build": "x"}, "dependencies": {"astro": "1", "@astrojs/node": "1"}}
    assert plan(package).processes == {"web": "node dist/server/entry.mjs"}


def test_what_the_repository_declares_comes_before_what_the_builder_finds() -> None:
    made = plan({"scripts": {"build": "x"}}, declared=Declared(build="make pages", site="pages"))
    assert (made.site, texts(made)) == ("pages", ["make pages"])
