"""The builders by the kind that detection names; the only importer of the drivers."""

from __future__ import annotations

from typing import assert_never

from consumers.builds import toolchains
from consumers.builds.builders.base import Builder
from consumers.builds.builders.command import CommandBuilder
from consumers.builds.builders.dockerfile import DockerfileBuilder
from consumers.builds.builders.node_js import NodeBuilder
from consumers.builds.builders.python import PythonBuilder
from consumers.builds.builders.static import StaticBuilder
from consumers.builds.detect import Kind
from consumers.builds.engine import Engine, EngineSettings
from zeitwork.errors import HostUnsupported

__all__ = ["Builder", "create"]


async def create(kind: Kind, *, engine: EngineSettings | None = None) -> Builder:
    """A builder on this machine's toolchain.

    Args:
        engine: where images are built; None where there is no Docker Engine.

    Raises:
        HostUnsupported: the toolchain is missing.
        EngineUnavailable: the Docker Engine does not answer.
    """
    match kind:
        case "python":
            return PythonBuilder(toolchains.python())
        case "node":
            return NodeBuilder(await toolchains.node())
        case "static":
            return StaticBuilder()
        case "command":
            return CommandBuilder()
        case "dockerfile":
            if engine is None:
                raise HostUnsupported("There is no Docker Engine for this machine's builds.")
            docker = Engine(engine)
            return DockerfileBuilder(docker, version=await docker.version())
    assert_never(kind)
