"""Desired and actual → what to start and to stop; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from events.instances import InstanceSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen now, and in how many seconds to look again (None: nothing is due).

    Attributes:
        gone: what is to stop and does not run; the control plane has not heard of its end.
    """

    start: tuple[InstanceSpec, ...]
    stop: tuple[str, ...]
    gone: tuple[InstanceSpec, ...]
    look_again_seconds: float | None


def plan(desired: Sequence[InstanceSpec], actual: Mapping[str, int], *, now: datetime) -> Plan:
    """Compare the desired set with the generations that this node has, by instance.

    An instance that is unknown to the desired set, or of another generation, stops, and the new
    generation starts in its place; one that is to stop later keeps running until then, and is not
    started when it does not run.
    """
    wanted = {spec.instance_id: spec for spec in desired}
    stop = [
        instance_id
        for instance_id, generation in actual.items()
        if instance_id not in wanted
        or wanted[instance_id].generation != generation
        or _due(wanted[instance_id], now)
    ]
    start = [
        spec
        for spec in desired
        if spec.want == "running" and actual.get(spec.instance_id) != spec.generation
    ]
    gone = [spec for spec in desired if spec.want == "stopped" and spec.instance_id not in actual]
    waits = [
        (spec.stop_after - now).total_seconds()
        for spec in desired
        if spec.instance_id in actual
        and spec.want == "stopped"
        and spec.stop_after is not None
        and not _due(spec, now)
    ]
    return Plan(tuple(start), tuple(sorted(stop)), tuple(gone), min(waits, default=None))


def _due(spec: InstanceSpec, now: datetime) -> bool:
    return spec.want == "stopped" and (spec.stop_after is None or spec.stop_after <= now)


def restart_delay(restarts: int) -> float:
    """Seconds before restart number `restarts` (from 1): 1, 2, 4 … 60."""
    return min(60.0, 2.0 ** (restarts - 1))
