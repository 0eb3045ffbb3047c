"""Whether a node's report may change an instance; pure. Reports are data, not authority."""

from __future__ import annotations

from dataclasses import dataclass

from events.instances import InstanceKind, InstanceReported
from events.states import InstanceState, allowed

_REPORTABLE = frozenset(
    {InstanceState.STARTING, InstanceState.READY, InstanceState.FAILED, InstanceState.STOPPED}
)

_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Standing:
    """The instance's row, as far as the verdict needs it."""

    node_id: str | None
    generation: int
    sequence: int
    state: InstanceState
    kind: InstanceKind = InstanceKind.WEB


def verdict(instance: Standing, report: InstanceReported) -> str | None:
    """None when the report counts, else why it is ignored."""
    if report.node_id != instance.node_id:
        return "the instance belongs to another node"
    if report.generation != instance.generation:
        return "the report is about another generation"
    if report.sequence <= instance.sequence:
        return "a newer report was taken before"
    if report.state not in _REPORTABLE:
        return f"a node cannot report {report.state}"
    if report.state is InstanceState.READY and instance.kind is not InstanceKind.WEB:
        return "only a web instance can be ready"
    if report.state is InstanceState.READY and not _addressed(report):
        return "a ready instance needs an address"
    if report.state is not instance.state and not allowed(instance.state, report.state):
        return f"{instance.state} does not move to {report.state}"
    return None


def _addressed(report: InstanceReported) -> bool:
    return bool(report.host) and report.port is not None and 0 < report.port <= _LAST_PORT
