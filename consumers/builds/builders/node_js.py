"""Node applications: npm installs, the build script runs, what only the build needed goes."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from typing import Any

from consumers.builds.builders import base
from consumers.builds.builders.static import finish_site, site_plan
from consumers.builds.detect import package_table
from consumers.builds.listing import Listing
from consumers.builds.plan import Command, NoStartCommand, Plan
from consumers.builds.procfile import Procfile
from consumers.builds.toolchains import Toolchain
from consumers.builds.workshop import Workshop

_SCRIPTS = ("server.js", "index.js", "app.js", "main.js")
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies")
_LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
_OTHER_LOCKS = ("yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb")
# Build tools whose result is a folder of static files, unless a start script says otherwise.
_SITE_FOLDERS = {
    "vite": "dist",
    "astro": "dist",
    "parcel": "dist",
    "react-scripts": "build",
    "@docusaurus/core": "build",
    "@11ty/eleventy": "_site",
    "gatsby": "public",
    "hexo": "public",
}
# Those whose pages are drawn in the browser: every address is answered by index.html.
_ONE_PAGE = frozenset({"vite", "react-scripts"})
_BUILD_ENV = {
    "npm_config_update_notifier": "false",
    "npm_config_fund": "false",
    "npm_config_audit": "false",
    "npm_config_progress": "false",
}


class NodeBuilder:
    """Follows package.json; npm runs only when there is something to install or to build."""

    name = "node"

    def __init__(self, node: Toolchain) -> None:
        self._node = node
        self.versions: Mapping[str, str] = {"node": node.version}

    def plan(self, listing: Listing, procfile: Procfile) -> Plan:
        package = package_table(listing)
        notes = [*self._notes(listing)]
        commands = _commands(listing, package)
        if procfile.web is not None:
            processes = dict(procfile.processes)
            notes.append(f"web: `{procfile.web}`, as the Procfile says")
        elif chosen := _start(listing, package):
            command, reason = chosen
            processes = {**procfile.processes, "web": command}
            notes.append(f"web: `{command}`, because {reason}")
        elif tool := _site_tool(package):
            return _site(tool, procfile, commands=commands, notes=notes)
        else:
            raise NoStartCommand(
                "This is a Node application, but nothing says how to start it: package.json has "
                f"no start script and no main file, and there is no {', '.join(_SCRIPTS)}. Add "
                '`"scripts": {"start": "node server.js"}`, or a Procfile with a `web:` line.'
            )
        return Plan(
            processes=processes,
            notes=tuple(notes),
            commands=commands,
            build_env=_BUILD_ENV,
            env={"NODE_ENV": "production"},
            path=("node_modules/.bin",),
        )

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        await base.carry_out(plan, workshop)
        if plan.site is not None:
            await finish_site(plan.site, workshop)

    def _notes(self, listing: Listing) -> list[str]:
        notes = []
        asked = (listing.text(".nvmrc") or listing.text(".node-version")).strip()
        major = asked.removeprefix("v").partition(".")[0]
        if major.isdecimal() and major != self._node.version.partition(".")[0]:
            notes.append(f"Node {asked} is asked for; this machine has {self._node.version}")
        if not listing.first(*_LOCKS) and (other := listing.first(*_OTHER_LOCKS)):
            notes.append(f"{other} is ignored: dependencies are resolved by npm")
        return notes


def _start(listing: Listing, package: dict[str, Any]) -> tuple[str, str] | None:
    """The start command and its reason."""
    if "start" in _scripts(package):
        return "npm start", "package.json has a start script"
    main = package.get("main")
    if isinstance(main, str) and (found := _main_file(listing, main)):
        return f"node {shlex.quote(found)}", "package.json names it as main"
    if script := listing.first(*_SCRIPTS):
        return f"node {script}", f"{script} is present"
    return None


def _main_file(listing: Listing, main: str) -> str | None:
    """The file that Node takes `main` for: with or without its suffix, or a folder's index."""
    name = posixpath.normpath(main)
    return listing.first(name, f"{name}.js", f"{name}/index.js")


def _commands(listing: Listing, package: dict[str, Any]) -> tuple[Command, ...]:
    locked = listing.first(*_LOCKS) is not None
    built = "build" in _scripts(package)
    install = ("npm", "ci") if locked else ("npm", "install")
    commands = []
    if _has_dependencies(package):
        # What the build script needs is a development dependency as often as not.
        commands.append(Command(install if built else (*install, "--omit=dev")))
    if built:
        commands.append(Command(("npm", "run", "build")))
        if _has_dependencies(package):
            commands.append(Command(("npm", "prune", "--omit=dev")))
    return tuple(commands)


def _site(
    tool: str, procfile: Procfile, *, commands: tuple[Command, ...], notes: list[str]
) -> Plan:
    folder = _SITE_FOLDERS[tool]
    one_page = tool in _ONE_PAGE
    plan = site_plan(folder, procfile, fallback="/index.html" if one_page else None)
    reason = f"{tool} builds static files into {folder}/, and there is no start script"
    # The site needs nothing of what npm installed.
    clean = Command(("rm", "-rf", "node_modules"))
    return Plan(
        processes=plan.processes,
        notes=(*notes, f"site: {reason}"),
        commands=(*(command for command in commands if "prune" not in command.argv), clean),
        files=plan.files,
        build_env=_BUILD_ENV,
        site=folder,
    )


def _site_tool(package: dict[str, Any]) -> str | None:
    if "build" not in _scripts(package):
        return None
    known = {name for group in _DEPENDENCIES for name in _table(package, group)}
    return next((tool for tool in _SITE_FOLDERS if tool in known), None)


def _has_dependencies(package: dict[str, Any]) -> bool:
    return any(_table(package, group) for group in _DEPENDENCIES) or "workspaces" in package


def _scripts(package: dict[str, Any]) -> dict[str, Any]:
    return _table(package, "scripts")


def _table(package: dict[str, Any], name: str) -> dict[str, Any]:
    value = package.get(name)
    return value if isinstance(value, dict) else {}
