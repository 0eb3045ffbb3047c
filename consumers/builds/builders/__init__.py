"""The builders by the kind that detection names; the only importer of the drivers."""

from __future__ import annotations

from typing import assert_never

from consumers.builds import toolchains
from consumers.builds.builders.base import Builder
from consumers.builds.builders.command import CommandBuilder
from consumers.builds.builders.node_js import NodeBuilder
from consumers.builds.builders.python import PythonBuilder
from consumers.builds.builders.static import StaticBuilder
from consumers.builds.detect import Kind

__all__ = ["Builder", "create"]


async def create(kind: Kind) -> Builder:
    """A builder on this machine's toolchain.

    Raises:
        HostUnsupported: the toolchain is missing.
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
    assert_never(kind)
