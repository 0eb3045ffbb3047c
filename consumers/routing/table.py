"""The routes that an environment should have: hosts, and the targets behind them; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.routes import Target
from events.states import InstanceState


@dataclass(frozen=True, slots=True)
class Backend:
    """An instance of the deployment that serves; address known once it has been ready."""

    instance_id: str
    state: InstanceState
    host: str | None
    port: int | None


def targets(backends: Sequence[Backend]) -> tuple[Target, ...]:
    """Only ready instances, in a stable order."""
    return tuple(
        Target(instance_id=backend.instance_id, host=backend.host, port=backend.port)
        for backend in sorted(backends, key=lambda backend: backend.instance_id)
        if backend.state is InstanceState.READY
        and backend.host is not None
        and backend.port is not None
    )


def hosts(own: str, *, commit: str | None) -> tuple[str, ...]:
    """Where an environment is served.

    Args:
        own: the environment's host.
        commit: the host of the very deployment that serves, if it has one.
    """
    return (own,) if commit is None or commit == own else (own, commit)
