"""Python applications: dependencies by uv into /app/.venv, run by the interpreter of Zeitwork."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from consumers.builds.builders import base
from consumers.builds.builders.python_requirements import (
    Install,
    Requirements,
    requirements,
    self_contained,
)
from consumers.builds.builders.python_start import start
from consumers.builds.builders.static import finish_site, site_plan
from consumers.builds.declared import Declared
from consumers.builds.detect import project_table
from consumers.builds.failures import PythonVersionMissing
from consumers.builds.listing import Listing
from consumers.builds.plan import Command, Layer, Plan, shell
from consumers.builds.toolchains import Toolchain
from consumers.builds.workshop import Workshop

_VENV = ".venv"
# What decides which packages are installed.
_INPUTS = ("uv.lock", "pyproject.toml", "requirements.txt", "uv.toml", ".python-version")
_UV_NOTE = "uv_cache.json"
_VENV_PYTHON = f"{_VENV}/bin/python"
_STATIC_ROOT = re.compile(r"^\s*STATIC_ROOT\s*(?::[^=]+)?=", re.MULTILINE)
_ASKED = re.compile(r"(?:python-)?(?P<major>\d+)(?:\.(?P<minor>\d+))?(?:\.\d+)?")
_BUILD_ENV = {
    "UV_LINK_MODE": "copy",  # cache and application are two mounts inside the sandbox
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    # Bytecode that holds its source's hash instead of its time: artifacts have no times, and
    # instances would otherwise compile every module again at each start.
    "UV_COMPILE_BYTECODE": "1",
    "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class PythonBuilder:
    """Installs what the repository declares; an application without dependencies needs no step."""

    name = "python"

    def __init__(self, python: Toolchain) -> None:
        self._python = python
        self.versions: Mapping[str, str] = {"python": python.version}

    def plan(self, listing: Listing, declared: Declared) -> Plan:
        self._check_version(listing)
        needed = requirements(listing)
        served = self._served(listing, needed, declared)
        build = (shell(declared.build),) if declared.build else ()
        if needed.install is Install.NOTHING:
            notes = (*served.notes, "dependencies: none")
            return replace(served, notes=notes, commands=build)
        shared, own = self._install(needed.install, project_table(listing))
        notes = (*served.notes, f"dependencies: from {needed.install}")
        plan = replace(
            served,
            notes=notes,
            commands=(*own, *(build or _collect_static(listing, needed))),
            build_env=_BUILD_ENV,
            path=(f"{_VENV}/bin",),
        )
        if not self_contained(listing, needed.install):
            return replace(plan, commands=(*shared, *plan.commands))
        return replace(plan, layer=Layer(_VENV, shared, _INPUTS, self.versions))

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        await base.carry_out(plan, workshop)
        await asyncio.to_thread(_settle, workshop.app / _VENV, self._python.program)
        if plan.site is not None:
            await finish_site(plan.site, workshop)

    def _served(self, listing: Listing, needed: Requirements, declared: Declared) -> Plan:
        """How it runs, without how it is built."""
        if declared.web is None and declared.site is not None:
            return site_plan(declared.site, declared)
        if declared.web is not None:
            return Plan(processes=dict(declared.processes), notes=(declared.web_note,))
        chosen = start(listing, needed)
        return Plan(
            processes={**declared.processes, "web": chosen.command},
            notes=(f"web: `{chosen.command}`, because {chosen.reason}",),
        )

    def _install(
        self, install: Install, table: dict[str, Any]
    ) -> tuple[tuple[Command, ...], tuple[Command, ...]]:
        """The commands for the dependencies, and those for the application itself."""
        python = str(self._python.program)
        create = ("uv", "venv", "--quiet", "--clear", "--relocatable", "--python", python, _VENV)
        add = ("uv", "pip", "install", "--python", _VENV_PYTHON)
        chosen: tuple[str, ...]
        own: tuple[Command, ...] = ()
        match install:
            case Install.LOCK:
                sync = ("uv", "sync", "--locked", "--no-dev", "--python", python)
                chosen = (*sync, "--no-install-project")
                if "build-system" in table:
                    own = (Command((*sync, "--no-editable")),)
            case Install.REQUIREMENTS:
                chosen = (*add, "-r", "requirements.txt")
            case Install.PACKAGE:
                chosen = (*add, ".")
            case _:
                chosen = (*add, "-r", "pyproject.toml")
        return (Command(create), Command(chosen)), own

    def _check_version(self, listing: Listing) -> None:
        """Refuse another Python than this machine's instead of putting ours in its place."""
        for name in (".python-version", "runtime.txt"):
            asked = next(iter(_lines(listing.text(name))), None)
            if asked is None:
                continue
            match = _ASKED.fullmatch(asked)
            major, minor, *_ = self._python.version.split(".")
            if match and match["major"] == major and match["minor"] in {None, minor}:
                continue
            raise PythonVersionMissing(
                f"{name} asks for Python {asked.removeprefix('python-')[:80]!r}, but this machine "
                f"has {self._python.version}. Change or remove {name}."
            )
        wanted = _requires_python(listing)
        if wanted is not None and not wanted.contains(self._python.version, prereleases=True):
            raise PythonVersionMissing(
                f"pyproject.toml requires Python {str(wanted)[:80]!r}, but this machine has "
                f"{self._python.version}. Widen requires-python."
            )


def _lines(text: str) -> Iterator[str]:
    """Lines without comments and blanks."""
    for line in text.splitlines():
        if bare := line.partition("#")[0].strip():
            yield bare


def _requires_python(listing: Listing) -> SpecifierSet | None:
    project = project_table(listing).get("project")
    wanted = project.get("requires-python") if isinstance(project, dict) else None
    if not isinstance(wanted, str):
        return None
    try:
        return SpecifierSet(wanted)
    except InvalidSpecifier:  # the installer says what is wrong with it
        return None


def _settle(venv: Path, program: Path) -> None:
    """Make the environment the same each time, and fit for nodes.

    Nodes take links out of the application only to the interpreter itself, not through each other.
    And uv notes beside packages from local files when those were written.
    """
    for link in _found(venv, "bin/python*"):
        if link.is_symlink():
            link.unlink()
            link.symlink_to(program)
    for noted in _found(venv, f"lib/*/site-packages/*.dist-info/{_UV_NOTE}"):
        noted.unlink()
        record = noted.with_name("RECORD")
        if record.is_file() and not record.is_symlink():
            lines = record.read_text().splitlines(keepends=True)
            base.write_anew(record, "".join(line for line in lines if f"/{_UV_NOTE}," not in line))


def _found(venv: Path, pattern: str) -> list[Path]:
    """What matches below `venv`, but not through links: a build may have put them there."""
    top = venv.parent.resolve() / venv.name
    return [path for path in top.glob(pattern) if path.parent.resolve() == path.parent]


def _collect_static(listing: Listing, needed: Requirements) -> tuple[Command, ...]:
    """Django's collectstatic, when some settings module says where to."""
    settings = [name for name in listing.files if name.endswith("settings.py")]
    wanted = any(_STATIC_ROOT.search(listing.text(name)) for name in settings)
    if "manage.py" not in listing or "django" not in needed or not wanted:
        return ()
    return (
        Command(
            (_VENV_PYTHON, "manage.py", "collectstatic", "--noinput"),
            if_it_fails="Static files were not collected. The build knows no secrets: give "
            "settings that are read from the environment a default.",
        ),
    )
