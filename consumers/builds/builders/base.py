"""What every builder does: plan purely, then carry the plan out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from consumers.builds import layers
from consumers.builds.declared import Declared
from consumers.builds.listing import Listing, shown
from consumers.builds.plan import Layer, Plan
from consumers.builds.workshop import Workshop
from zeitwork.errors import BuildFailed


class Builder(Protocol):
    """Knows one kind of application.

    Attributes:
        name: as it stands in manifests and metrics.
        versions: the toolchains it uses, by name.
    """

    name: str
    versions: Mapping[str, str]

    def plan(self, listing: Listing, declared: Declared) -> Plan:
        """Decide what to do; looks at nothing else and runs nothing.

        Raises:
            BuildFailed: the repository contradicts itself, or asks for what is not there.
            NoStartCommand: nothing says how the application is started.
        """

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        """Do it in the workshop's directory.

        Raises:
            BuildCommandFailed: a command ended with an error.
        """


async def carry_out(plan: Plan, workshop: Workshop) -> None:
    """Write the plan's files, put the dependencies in place, then run the commands in order."""
    for name, content in plan.files.items():
        await asyncio.to_thread(_write, workshop.app, name, content)
    if plan.layer is not None:
        await _install(plan.layer, plan.build_env, workshop)
    for command in plan.commands:
        await workshop.run(command, plan.build_env)


async def _install(layer: Layer, env: Mapping[str, str], workshop: Workshop) -> None:
    """Take the dependencies from an earlier build, or install them and keep them for the next."""
    told = {**workshop.variables, **env}
    key = await asyncio.to_thread(layers.key_of, layer, workshop.app, told)
    kept = layers.Layers(workshop.layers)
    folder = workshop.app / layer.folder
    if await kept.restore(key, folder):
        workshop.transcript.say("Dependencies are unchanged: taken from an earlier build")
        return
    for command in layer.commands:
        await workshop.run(command, env)
    if folder.is_dir() and not folder.is_symlink():
        await kept.keep(key, folder)


def _write(app: Path, name: str, content: str) -> None:
    """Write below `app`, through no link: a repository may hold one in the file's place."""
    path = app
    *folders, last = Path(name).parts
    for folder in folders:
        path /= folder
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(exist_ok=True)
    write_anew(path / last, content)


def write_anew(path: Path, content: str) -> None:
    """Write a file of ours in the place of whatever is there, never through a link.

    Raises:
        BuildFailed: a directory is there.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if not path.is_dir():
            raise
        raise BuildFailed(
            f"{shown(Path(path.name))} is a directory, but Zeitwork writes a file there. Rename it."
        ) from error
    path.write_text(content)
