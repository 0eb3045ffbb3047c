"""Python applications: dependencies by uv into /app/.venv, run by the interpreter of Zeitwork."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from consumers.builds.builders import base
from consumers.builds.builders.python_requirements import Install, Requirements, requirements
from consumers.builds.builders.python_start import start
from consumers.builds.listing import Listing
from consumers.builds.plan import Command, Plan
from consumers.builds.procfile import Procfile
from consumers.builds.toolchains import Toolchain
from consumers.builds.workshop import Workshop
from zeitwork.errors import BuildFailed

_VENV = ".venv"
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

    def plan(self, listing: Listing, procfile: Procfile) -> Plan:
        self._check_version(listing)
        needed = requirements(listing)
        notes = []
        if procfile.web is not None:
            processes = dict(procfile.processes)
            notes.append(f"web: `{procfile.web}`, as the Procfile says")
        else:
            chosen = start(listing, needed)
            processes = {**procfile.processes, "web": chosen.command}
            notes.append(f"web: `{chosen.command}`, because {chosen.reason}")
        if needed.install is Install.NOTHING:
            notes.append("dependencies: none")
            return Plan(processes=processes, notes=tuple(notes))
        notes.append(f"dependencies: from {needed.install}")
        return Plan(
            processes=processes,
            notes=tuple(notes),
            commands=(*self._install(needed.install), *_collect_static(listing, needed)),
            build_env=_BUILD_ENV,
            path=(f"{_VENV}/bin",),
        )

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        await base.carry_out(plan, workshop)
        await asyncio.to_thread(_settle, workshop.app / _VENV, self._python.program)

    def _install(self, install: Install) -> tuple[Command, ...]:
        python = str(self._python.program)
        create = ("uv", "venv", "--quiet", "--clear", "--relocatable", "--python", python, _VENV)
        add = ("uv", "pip", "install", "--python", _VENV_PYTHON)
        commands = {
            Install.LOCK: ("uv", "sync", "--locked", "--no-dev", "--no-editable"),
            Install.REQUIREMENTS: (*add, "-r", "requirements.txt"),
            Install.PACKAGE: (*add, "."),
            Install.PROJECT: (*add, "-r", "pyproject.toml"),
        }
        chosen = commands[install]
        if install is Install.LOCK:
            chosen = (*chosen, "--python", python)
        return (Command(create), Command(chosen))

    def _check_version(self, listing: Listing) -> None:
        """Refuse another Python than this machine's instead of putting ours in its place."""
        for name in (".python-version", "runtime.txt"):
            asked = listing.text(name).strip()
            if not asked:
                continue
            match = _ASKED.fullmatch(asked)
            major, minor, *_ = self._python.version.split(".")
            if match and match["major"] == major and match["minor"] in {None, minor}:
                continue
            raise BuildFailed(
                f"{name} asks for Python {asked.removeprefix('python-')!r}, but this machine has "
                f"{self._python.version}. Change or remove {name}."
            )


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
