"""What an artifact says of itself: how it was made and how it is run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Runtime = Literal["process", "docker"]
# In the place of a start command: the image starts what its ENTRYPOINT and CMD say.
IMAGE_COMMAND = "@image"


class Manifest(BaseModel):
    """Stored beside the artifact; whoever runs it needs nothing else.

    Attributes:
        builder: the builder's name.
        processes: shell commands by process name, run in the application's directory.
        release: a shell command to run once for each deployment, before it serves.
        env: variables to set for every process.
        path: directories, relative to the application, to put before PATH.
        detected: why this builder and these commands, one line each.
        toolchain: versions by name ("python", "node").
        runtime: what runs it: "process" takes a directory, "docker" an OCI image layout, in which
            the start command of a process may be IMAGE_COMMAND.
        declared: what zeitwork.toml says, key by key; empty where there is none.
        architecture: of the machine that built it, as `uname -m` says it.
    """

    model_config = ConfigDict(frozen=True)

    builder: str
    processes: dict[str, str]
    release: str | None = None
    env: dict[str, str] = {}
    path: list[str] = []
    detected: list[str] = []
    toolchain: dict[str, str] = {}
    runtime: Runtime = "process"
    declared: dict[str, Any] = {}
    architecture: str = "x86_64"
