"""Which node takes an instance; pure: filter, then score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.states import NodeState


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node as the scheduler sees it.

    Attributes:
        live: instances that it runs or is to run.
        siblings: how many of them belong to the deployment that is being placed.
    """

    node_id: str
    state: NodeState
    live: int
    siblings: int


def place(candidates: Sequence[Candidate]) -> str | None:
    """The ready node with the fewest siblings, then the fewest instances; None when none fits."""
    fitting = [node for node in candidates if node.state is NodeState.READY]
    if not fitting:
        return None
    return min(fitting, key=lambda node: (node.siblings, node.live, node.node_id)).node_id


def why_nowhere(candidates: Sequence[Candidate]) -> str:
    """For people: why `place` found nothing, and what would help."""
    if not candidates:
        return "Waiting for a node: none has joined yet. Start one with `zeitwork serve node`."
    states: dict[str, int] = {}
    for node in candidates:
        states[str(node.state)] = states.get(str(node.state), 0) + 1
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"Waiting for a node: none is ready ({counted})."
