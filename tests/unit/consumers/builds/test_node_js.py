"""Node applications: what npm is asked to do, and how they are started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.builds.builders.caddyfile import COMMAND
from consumers.builds.builders.node_js import NodeBuilder
from consumers.builds.listing import Listing
from consumers.builds.plan import NoStartCommand, Plan
from consumers.builds.procfile import Procfile
from consumers.builds.toolchains import Toolchain

SCRIPTS = {"start": "node server.js"}


def plan(
    package: Any, *names: str, procfile: Procfile | None = None, nvmrc: str | None = None
) -> Plan:
    held = {"package.json": json.dumps(package)} | ({".nvmrc": nvmrc} if nvmrc else {})
    builder = NodeBuilder(Toolchain("20.1.0", Path("/usr/bin/node")))
    return builder.plan(Listing(frozenset({*names, *held}), held), procfile or Procfile())


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
    assert [command.text for command in plan(package, *names).commands] == commands


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
    declared = Procfile({"web": "node x.js", "worker": "node y.js"})
    assert plan({"scripts": SCRIPTS}, procfile=declared).processes == declared.processes
    only_worker = plan({"scripts": SCRIPTS}, procfile=Procfile({"worker": "w"}))
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
    assert [command.text for command in made.commands] == [
        "npm install", "npm run build", "rm -rf node_modules",
    ]  # fmt: skip


def test_a_site_with_a_start_script_is_a_server() -> None:
    made = plan({"scripts": {"build": "x", **SCRIPTS}, "dependencies": {"astro": "1"}})
    assert made.site is None
    assert made.processes == {"web": "npm start"}


def test_what_is_not_followed_is_noted() -> None:
    made = plan({"scripts": SCRIPTS}, "yarn.lock", nvmrc="v18.2.0\n")
    assert "Node v18.2.0 is asked for; this machine has 20.1.0" in made.notes
    assert "yarn.lock is ignored: dependencies are resolved by npm" in made.notes
    assert len(plan({"scripts": SCRIPTS}, nvmrc="20").notes) == 1
