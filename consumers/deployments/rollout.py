"""Which step a deployment takes next; pure.

First the release command, if there is one; then blue-green: all new instances, then the routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from events.states import InstanceState


class Step(Enum):
    """What is to happen to a deployment whose artifact exists."""

    WAIT = auto()
    RELEASE = auto()
    START = auto()
    ACTIVATE = auto()
    SUPERSEDE = auto()
    FAIL = auto()


class Release(Enum):
    """How a deployment stands with its release command; one without a command is done with it."""

    DUE = auto()
    RUNNING = auto()
    DONE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Standing:
    """A deployment among the others of its environment.

    Attributes:
        instances: the states of its web instances, one entry each.
        newest_active: the number of the deployment that serves, if any.
        release: how it stands with its release command.
        occupied: another deployment's release command runs in the environment.
    """

    number: int
    replicas: int
    instances: Sequence[InstanceState]
    newest_active: int | None
    release: Release = Release.DONE
    occupied: bool = False


def next_step(standing: Standing) -> Step:
    """Newest commit wins: a deployment older than the one that serves never takes the routes."""
    if standing.newest_active is not None and standing.newest_active > standing.number:
        return Step.SUPERSEDE
    if standing.release is Release.FAILED or InstanceState.FAILED in standing.instances:
        return Step.FAIL
    if not standing.instances:
        return _before_instances(standing)
    ready = sum(state is InstanceState.READY for state in standing.instances)
    return Step.ACTIVATE if ready >= standing.replicas else Step.WAIT


def _before_instances(standing: Standing) -> Step:
    """Two release commands at once could work against each other: they take turns."""
    if standing.release is Release.DUE and not standing.occupied:
        return Step.RELEASE
    return Step.START if standing.release is Release.DONE else Step.WAIT


def release_of(command: str | None, run: tuple[InstanceState, int | None] | None) -> Release:
    """How a deployment stands with its release command.

    Args:
        command: what its artifact names, if anything.
        run: state and exit code of the instance that runs it, once there is one. There never is a
            second: what is not known to have ended well has failed.
    """
    if run is None:
        return Release.DONE if command is None else Release.DUE
    match run:
        case (InstanceState.STOPPED, 0):
            return Release.DONE
        case (InstanceState.STOPPED | InstanceState.FAILED | InstanceState.LOST, _):
            return Release.FAILED
        case _:
            return Release.RUNNING
