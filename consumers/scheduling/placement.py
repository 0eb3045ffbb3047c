"""Which node takes an instance; pure: filter, then score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers.runtimes import runs
from events.states import NodeState


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node as the scheduler sees it.

    Attributes:
        live: instances that it runs or is to run.
        siblings: how many of them belong to the deployment that is being placed.
        runtime: what it runs instances with.
    """

    node_id: str
    state: NodeState
    live: int
    siblings: int
    runtime: str = "process"


def place(candidates: Sequence[Candidate], *, runtime: str = "process") -> str | None:
    """The ready node with the fewest siblings, then the fewest instances; None when none fits.

    `runtime` is what the artifact needs.
    """
    fitting = [
        node for node in candidates if node.state is NodeState.READY and runs(node.runtime, runtime)
    ]
    if not fitting:
        return None
    return min(fitting, key=lambda node: (node.siblings, node.live, node.node_id)).node_id


def why_nowhere(candidates: Sequence[Candidate], *, runtime: str = "process") -> str:
    """For people: why `place` found nothing, and what would help."""
    if not candidates:
        return "Waiting for a node: none has joined yet. Start one with `zeitwork serve node`."
    if not any(runs(node.runtime, runtime) for node in candidates):
        return f"Waiting for a node: none of the {len(candidates)} that joined runs images."
    states: dict[str, int] = {}
    for node in candidates:
        states[str(node.state)] = states.get(str(node.state), 0) + 1
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"Waiting for a node: none is ready ({counted})."
