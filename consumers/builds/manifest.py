"""What an artifact says of itself: how it was made and how it is run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Manifest(BaseModel):
    """Stored beside the artifact; whoever runs it needs nothing else.

    Attributes:
        builder: the builder's name.
        processes: shell commands by process name, run in the application's directory.
        env: variables to set for every process.
        path: directories, relative to the application, to put before PATH.
        health_path: answers 2xx or 3xx once the web process is ready.
        detected: why this builder and these commands, one line each.
        toolchain: versions by name ("python", "node").
    """

    model_config = ConfigDict(frozen=True)

    builder: str
    processes: dict[str, str]
    env: dict[str, str] = {}
    path: list[str] = []
    health_path: str = "/"
    detected: list[str] = []
    toolchain: dict[str, str] = {}
