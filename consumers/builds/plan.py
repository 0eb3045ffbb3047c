"""What a builder intends to do with a repository; pure data, decided before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from zeitwork.errors import BuildFailed


class NoStartCommand(BuildFailed):
    """Nothing says how the application is started."""

    code = "no_start_command"


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
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True)
class Plan:
    """One builder's intentions.

    Attributes:
        processes: start commands by process name; "web" is always there.
        notes: the reasons, one line each, for the build log and the manifest.
        commands: run in this order.
        files: written before the commands, by relative path.
        build_env: variables of the commands.
        env: variables that the running application needs.
        path: directories, relative to the application, that come before PATH when it runs.
        site: the folder of static files that is served, "" for the root; None when there is none.
    """

    processes: Mapping[str, str]
    notes: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    build_env: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    site: str | None = None
