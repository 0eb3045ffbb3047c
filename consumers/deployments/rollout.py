"""Which step a deployment takes next; pure. Blue-green: all new instances, then the routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from events.states import InstanceState


class Step(Enum):
    """What is to happen to a deployment whose instances are starting."""

    WAIT = auto()
    ACTIVATE = auto()
    SUPERSEDE = auto()
    FAIL = auto()


@dataclass(frozen=True, slots=True)
class Standing:
    """A deployment among the others of its environment.

    Attributes:
        instances: the states of its instances, one entry each.
        newest_active: the number of the deployment that serves, if any.
    """

    number: int
    replicas: int
    instances: Sequence[InstanceState]
    newest_active: int | None


def next_step(standing: Standing) -> Step:
    """Newest commit wins: a deployment older than the one that serves never takes the routes."""
    if standing.newest_active is not None and standing.newest_active > standing.number:
        return Step.SUPERSEDE
    if InstanceState.FAILED in standing.instances:
        return Step.FAIL
    ready = sum(state is InstanceState.READY for state in standing.instances)
    return Step.ACTIVATE if ready >= standing.replicas else Step.WAIT
