"""Name → runtime; the only importer of the drivers."""

from __future__ import annotations

from pathlib import Path

from node.runtimes.base import Runtime
from node.runtimes.process import ProcessRuntime
from zeitwork.config import NodeSettings


def choose(settings: NodeSettings, directory: Path) -> Runtime:
    """The runtime for this machine; `directory` is where artifacts are kept."""
    return ProcessRuntime(settings, directory)
