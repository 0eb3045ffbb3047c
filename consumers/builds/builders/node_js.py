"""Node applications: npm installs, the build script runs, what only the build needed goes."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from consumers.builds.builders import base
from consumers.builds.builders.node_range import admits
from consumers.builds.builders.static import finish_site, site_plan
from consumers.builds.declared import Declared
from consumers.builds.detect import package_table
from consumers.builds.failures import NodeVersionMissing, NoStartCommand
from consumers.builds.listing import Listing
from consumers.builds.plan import Command, Layer, Plan, shell
from consumers.builds.toolchains import Toolchain
from consumers.builds.workshop import Workshop

_SCRIPTS = ("server.js", "index.js", "app.js", "main.js")
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies")
_MODULES = "node_modules"
# What decides which packages are installed.
_INPUTS = ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
# npm runs these of the application itself when it installs.
_OWN_SCRIPTS = frozenset(
    {"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"}
)
_LOCAL = re.compile(r"(?:file|link|workspace):|\.{0,2}/|~/")
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
_ASTRO_SERVER = "@astrojs/node"
_ASTRO_ENTRY = "dist/server/entry.mjs"
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

    def plan(self, listing: Listing, declared: Declared) -> Plan:
        package = package_table(listing)
        self._check_version(listing, package)
        served = _served(listing, package, declared)
        steps = [*_build_step(package, declared)]
        if served.site is not None:
            # The site needs nothing of what npm installed.
            steps += [Command(("rm", "-rf", _MODULES))] if _has_dependencies(package) else []
        elif steps and _has_dependencies(package):
            steps.append(Command(("npm", "prune", "--omit=dev")))
        plan = replace(
            served,
            notes=(*served.notes, *_notes(listing)),
            commands=tuple(steps),
            build_env=_BUILD_ENV,
        )
        if not _has_dependencies(package):
            return plan
        # What the build script needs is a development dependency as often as not.
        only = () if steps else ("--omit=dev",)
        install = Command(("npm", "ci" if listing.first(*_LOCKS) else "install", *only))
        if not _self_contained(listing, package):
            return replace(plan, commands=(install, *plan.commands))
        return replace(plan, layer=Layer(_MODULES, (install,), _INPUTS, self.versions))

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        await base.carry_out(plan, workshop)
        if plan.site is not None:
            await finish_site(plan.site, workshop)

    def _check_version(self, listing: Listing, package: dict[str, Any]) -> None:
        """Refuse another Node than this machine's, where it is asked for in figures."""
        asked = {"package.json": _table(package, "engines").get("node")}
        asked |= {name: listing.text(name).strip() for name in (".nvmrc", ".node-version")}
        for name, wanted in asked.items():
            # `lts/iron`, `node` and the like are names that only a version manager knows.
            if isinstance(wanted, str) and admits(wanted, self._node.version) is False:
                where = "Change engines in it" if name == "package.json" else "Change or remove it"
                raise NodeVersionMissing(
                    f"{name} asks for Node {wanted[:80]!r}, but this machine has "
                    f"{self._node.version}. {where}."
                )


def _notes(listing: Listing) -> list[str]:
    if listing.first(*_LOCKS):
        return []
    if other := listing.first(*_OTHER_LOCKS):
        return [f"{other} is ignored: dependencies are resolved by npm"]
    return []


def _served(listing: Listing, package: dict[str, Any], declared: Declared) -> Plan:
    """How it runs, without how it is built."""
    if declared.web is not None:
        processes, note = dict(declared.processes), declared.web_note
    elif declared.site is not None:
        return site_plan(declared.site, declared)
    elif chosen := _start(listing, package):
        processes = {**declared.processes, "web": chosen[0]}
        note = f"web: `{chosen[0]}`, because {chosen[1]}"
    elif tool := _site_tool(package):
        return _site(tool, declared)
    else:
        raise NoStartCommand(
            "This is a Node application, but nothing says how to start it: package.json has "
            f"no start script and no main file, and there is no {', '.join(_SCRIPTS)}. Add "
            '`"scripts": {"start": "node server.js"}`, or a Procfile with a `web:` line.'
        )
    return Plan(
        processes=processes,
        notes=(note,),
        env={"NODE_ENV": "production"},
        path=(f"{_MODULES}/.bin",),
    )


def _start(listing: Listing, package: dict[str, Any]) -> tuple[str, str] | None:
    """The start command and its reason."""
    if "start" in _scripts(package):
        return "npm start", "package.json has a start script"
    if _ASTRO_SERVER in {name for group in _DEPENDENCIES for name in _table(package, group)}:
        return f"node {_ASTRO_ENTRY}", f"{_ASTRO_SERVER} makes {_ASTRO_ENTRY} of an Astro site"
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


def _build_step(package: dict[str, Any], declared: Declared) -> tuple[Command, ...]:
    if declared.build is not None:
        return (shell(declared.build),)
    return (Command(("npm", "run", "build")),) if "build" in _scripts(package) else ()


def _site(tool: str, declared: Declared) -> Plan:
    folder = _SITE_FOLDERS[tool]
    plan = site_plan(folder, declared, fallback="/index.html" if tool in _ONE_PAGE else None)
    reason = f"{tool} builds static files into {folder}/, and there is no start script"
    return replace(plan, notes=(*plan.notes, f"site: {reason}"))


def _self_contained(listing: Listing, package: dict[str, Any]) -> bool:
    """Whether package.json and the lock decide alone what is installed.

    They do not when installing runs scripts of the repository, or takes packages from its folders.
    """
    if "workspaces" in package or "binding.gyp" in listing:
        return False
    if _OWN_SCRIPTS & _scripts(package).keys():
        return False
    versions = [version for group in _DEPENDENCIES for version in _table(package, group).values()]
    return not any(_LOCAL.match(str(version)) for version in versions)


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
