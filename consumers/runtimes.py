"""Which nodes can run which artifacts. Pure."""

from __future__ import annotations

_IMAGES = "docker"


def runs(node_runtime: str, artifact_runtime: str) -> bool:
    """Whether a node takes an artifact: an image needs what runs images."""
    return artifact_runtime != _IMAGES or node_runtime == _IMAGES
