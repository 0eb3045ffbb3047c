"""What a builder intends to do with a repository; pure data, decided before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from consumers.builds.manifest import Runtime

_SHELL = ("sh", "-c")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run in the application's directory.

    Attributes:
        if_it_fails: None ends the build with an error; a text is shown instead and the build
            goes on.
    """

    argv: tuple[str, ...]
    if_it_fails: str | None = None

    @property
    def text(self) -> str:
        if self.argv[:2] == _SHELL:
            return self.argv[2]
        return shlex.join(self.argv)


def shell(text: str) -> Command:
    """A command as people write it into a file."""
    return Command((*_SHELL, text))


@dataclass(frozen=True, slots=True)
class Layer:
    """Dependencies that depend on a few files alone, so that builds can share them.

    Attributes:
        folder: where they are installed, relative to the application's directory.
        commands: install them there.
        inputs: the files that decide what they are; those that exist count.
        toolchain: versions by name.
    """

    folder: str
    commands: tuple[Command, ...]
    inputs: tuple[str, ...]
    toolchain: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """One builder's intentions.

    Attributes:
        processes: start commands by process name; "web" is always there.
        notes: the reasons, one line each, for the build log and the manifest.
        layer: dependencies that are installed first, or taken from an earlier build.
        commands: run in this order.
        files: written before the commands, by relative path.
        build_env: variables of the commands.
        env: variables that the running application needs.
        path: directories, relative to the application, that come before PATH when it runs.
        runtime: what can run the artifact.
        artifact: the folder that becomes the artifact, relative to the application; "" for all.
        site: the folder of static files that is served, "" for the root; None when there is none.
    """

    processes: Mapping[str, str]
    notes: tuple[str, ...] = ()
    layer: Layer | None = None
    commands: tuple[Command, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    build_env: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    site: str | None = None
    runtime: Runtime = "process"
    artifact: str = ""

    @property
    def all_commands(self) -> tuple[Command, ...]:
        """Those of the layer, which may be spared, and the others."""
        return (*(self.layer.commands if self.layer else ()), *self.commands)
