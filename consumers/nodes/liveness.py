"""Which nodes count as suspect or lost; pure.

Suspect after 15 s without a heartbeat (three are missing), lost after 40 s, as Kubernetes' node
controller has it. When most nodes fall silent at once the observer is the likelier culprit, so
nothing is evicted then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.states import NodeState

SUSPECT_AFTER_SECONDS = 15.0
LOST_AFTER_SECONDS = 40.0
MASS_LOSS_PERCENT = 55
_MASS_LOSS_LEAST = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """A node and how long it has been silent, in seconds."""

    node_id: str
    state: NodeState
    silent_seconds: float


def verdicts(nodes: Sequence[Seen]) -> dict[str, NodeState]:
    """The nodes that change state, by id."""
    changes: dict[str, NodeState] = {}
    in_use = [node for node in nodes if node.state not in {NodeState.LOST, NodeState.GONE}]
    silent = [node for node in in_use if node.silent_seconds > SUSPECT_AFTER_SECONDS]
    pause = len(silent) >= _MASS_LOSS_LEAST and 100 * len(silent) >= MASS_LOSS_PERCENT * len(in_use)
    for node in silent:
        if node.silent_seconds > LOST_AFTER_SECONDS and not pause:
            changes[node.node_id] = NodeState.LOST
        elif node.state is NodeState.READY:
            changes[node.node_id] = NodeState.SUSPECT
    return changes
