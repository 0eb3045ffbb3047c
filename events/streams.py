"""JetStream streams and durables as data. `events/topology.py` makes the server match.

Limits keep every queue bounded. `max_deliver` is two above `attempts`, so that the handler's
runtime, not the server, ends the life of a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from events import builds, deployments, github, instances, nodes, projects, subjects
from events.event import MAX_EVENT_BYTES, Event

_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream; ages and windows in seconds, sizes in bytes, 0 means no such limit."""

    name: str
    description: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"] = "limits"
    discard: Literal["old", "new"] = "old"
    max_age: float = 0
    max_bytes: int = 0
    max_msgs: int = 0
    max_msgs_per_subject: int = 0
    max_msg_size: int = MAX_EVENT_BYTES
    duplicate_window: float = 2 * _MINUTE
    compression: bool = False


@dataclass(frozen=True, slots=True)
class Durable:
    """A shared pull consumer: every replica pulls from it, so replicas scale it.

    Attributes:
        ack_wait: seconds until an unacknowledged message comes again; handlers beat at a third.
        attempts: deliveries until the message goes to the dead letters.
        delays: seconds before the second, third … attempt; the last one repeats.
        deadline: seconds that one handling may take in all.
    """

    name: str
    description: str
    stream: str
    filters: tuple[str, ...]
    ack_wait: float = 30.0
    attempts: int = 6
    delays: tuple[float, ...] = (1.0, 5.0, 15.0, 30.0, 60.0)
    max_ack_pending: int = 256
    deadline: float = 60.0

    @property
    def max_deliver(self) -> int:
        return self.attempts + 2


EVENTS: Final = Stream(
    "ZW_EVENTS",
    "Facts, kept for replay",
    ("zw.evt.>", "zw.redrive.>"),
    max_age=14 * _DAY,
    max_bytes=2048 * _MIB,
    duplicate_window=10 * _MINUTE,
    compression=True,
)
JOBS: Final = Stream(
    "ZW_JOBS",
    "Work for exactly one handler",
    ("zw.job.>",),
    retention="workqueue",
    discard="new",
    max_msgs=10_000,
    max_bytes=256 * _MIB,
    max_msgs_per_subject=1,
    duplicate_window=10 * _MINUTE,
)
DLQ: Final = Stream(
    "ZW_DLQ",
    "Messages that no attempt could handle",
    ("zw.dlq.>",),
    max_age=30 * _DAY,
    max_bytes=512 * _MIB,
    max_msg_size=2 * MAX_EVENT_BYTES,
    duplicate_window=_HOUR,
)
LOGS: Final = Stream(
    "ZW_LOGS",
    "Build and instance log lines, for following live",
    ("zw.log.>",),
    max_age=_DAY,
    max_bytes=1024 * _MIB,
    max_msgs_per_subject=5_000,
    compression=True,
)
STREAMS: Final[Sequence[Stream]] = (EVENTS, JOBS, DLQ, LOGS)


def _facts(name: str, description: str, *events: type[Event]) -> Durable:
    filters = tuple(sorted(subjects.facts(event) for event in events))
    return Durable(name, description, EVENTS.name, (*filters, subjects.redrive(name)))


GITHUB: Final = _facts("github-v1", "Pushes become deployments", github.PushReceived)
DEPLOYMENTS: Final = _facts(
    "deployments-v1",
    "Moves deployments along their states",
    builds.BuildStarted,
    builds.BuildSucceeded,
    builds.BuildFailed,
    instances.InstanceReady,
    instances.InstanceFailed,
)
SCHEDULING: Final = _facts(
    "scheduling-v1",
    "Places instances on nodes",
    instances.InstanceCreated,
    instances.InstanceLost,
    instances.InstanceFailed,
    nodes.NodeReady,
)
INSTANCES: Final = _facts("instances-v1", "Takes the nodes' reports", instances.InstanceReported)
ROUTING: Final = _facts(
    "routing-v1",
    "Keeps routing_cache and tells the proxies",
    projects.ProjectCreated,
    deployments.DeploymentActivated,
    instances.InstanceReady,
    instances.InstanceUnready,
    instances.InstanceFailed,
    instances.InstanceDraining,
    instances.InstanceStopped,
    instances.InstanceLost,
)
BUILDS_PRODUCTION: Final = Durable(
    "build-production-v1",
    "Builds for production",
    JOBS.name,
    (subjects.jobs(builds.BuildRequested, "production"),),
    ack_wait=60.0,
    attempts=3,
    delays=(10.0, 60.0),
    max_ack_pending=64,
    deadline=1200.0,
)
DURABLES: Final[Sequence[Durable]] = (
    BUILDS_PRODUCTION,
    DEPLOYMENTS,
    GITHUB,
    INSTANCES,
    ROUTING,
    SCHEDULING,
)
