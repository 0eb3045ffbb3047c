"""JetStream streams and durables as data. `events/topology.py` makes the server match.

Limits keep every queue bounded. The handlers' runtime counts attempts and ends the life of a
message, because only it can tell a failed attempt from one that was put off; the server's own limit
(`max_deliver`) lies beyond and catches what never comes to a handler's end. Its word on that is an
advisory, kept in ZW_ADVISORY.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from events import (
    builds,
    dead_letters,
    deployments,
    environments,
    github,
    installations,
    instances,
    nodes,
    operations,
    previews,
    projects,
    routes,
    subjects,
    triggers,
)
from events.event import MAX_EVENT_BYTES, Event
from events.tokens import pattern, token

_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MIB = 1024 * 1024
_SPARE_DELIVERIES = 10  # interruptions whose note was lost
_ADVISORY: Final = "$JS.EVENT.ADVISORY.CONSUMER"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream; ages and windows in seconds, sizes in bytes, 0 means no such limit.

    Attributes:
        atomic: takes batches that are stored whole or not at all (ADR-50).
        counter: each subject holds a sum; a message adds to it (ADR-49).
        deny_delete: single messages cannot be removed; history stays what it was.
    """

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
    atomic: bool = False
    counter: bool = False
    deny_delete: bool = False

    def __post_init__(self) -> None:
        """Refuse what NATS would refuse, or take for something else (InvalidName)."""
        token(self.name)
        for subject in self.subjects:
            pattern(subject)

    @property
    def discards_new_per_subject(self) -> bool:
        """True where a subject that is at its limit refuses the next message."""
        return self.discard == "new" and self.max_msgs_per_subject > 0


@dataclass(frozen=True, slots=True)
class Durable:
    """A shared pull consumer: every replica pulls from it, so replicas scale it.

    Attributes:
        ack_wait: seconds until an unacknowledged message comes again; handlers beat at a third.
        attempts: failed or crashed handlings until the message goes to the dead letters.
        deferrals: times that handlers may answer `Later` until it goes there too.
        delays: seconds before the second, third … attempt; the last one repeats.
        deadline: seconds that one handling may take in all.
        upgrade_wait: seconds between looks at a message that only a newer replica can read.
        endless: failures are tried again for ever and never buried; for what ends the road of
            other messages, and so fails only while PostgreSQL or NATS is away.
    """

    name: str
    description: str
    stream: str
    filters: tuple[str, ...]
    ack_wait: float = 30.0
    attempts: int = 6
    deferrals: int = 60
    delays: tuple[float, ...] = (1.0, 5.0, 15.0, 30.0, 60.0)
    max_ack_pending: int = 256
    deadline: float = 60.0
    upgrade_wait: float = 60.0
    endless: bool = False

    def __post_init__(self) -> None:
        """Refuse what NATS would refuse, or take for something else (InvalidName)."""
        token(self.name)
        token(self.stream)
        for subject in self.filters:
            pattern(subject)

    @property
    def max_deliver(self) -> int:
        """Deliveries until the server itself gives up, more than the runtime needs; -1 is never."""
        return -1 if self.endless else self.attempts + self.deferrals + _SPARE_DELIVERIES


EVENTS: Final = Stream(
    "ZW_EVENTS",
    "Facts, kept for replay",
    ("zw.evt.>", "zw.redrive.>"),
    max_age=14 * _DAY,
    max_bytes=2048 * _MIB,
    duplicate_window=10 * _MINUTE,
    compression=True,
    atomic=True,
    deny_delete=True,
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
    atomic=True,
)
DLQ: Final = Stream(
    "ZW_DLQ",
    "Messages that no attempt could handle",
    ("zw.dlq.>",),
    max_age=30 * _DAY,
    max_bytes=512 * _MIB,
    max_msg_size=2 * MAX_EVENT_BYTES,
    duplicate_window=_HOUR,
    atomic=True,
)
DEFERRALS: Final = Stream(
    "ZW_DEFERRALS",
    "How often a message was put off, by durable and sequence",
    ("zw.deferral.>",),
    max_age=_DAY,  # longer than any `Later`; each one renews its entry
    max_bytes=64 * _MIB,
    max_msgs_per_subject=1,
    counter=True,
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
ADVISORIES: Final = Stream(
    "ZW_ADVISORY",
    "The server's word on messages that it stopped delivering",
    (f"{_ADVISORY}.MAX_DELIVERIES.>", f"{_ADVISORY}.MSG_TERMINATED.>"),
    max_age=7 * _DAY,
    max_bytes=64 * _MIB,
)
STREAMS: Final[Sequence[Stream]] = (EVENTS, JOBS, DLQ, DEFERRALS, LOGS, ADVISORIES)
_PREFIXES: Final = [
    (tuple(pattern.removesuffix(">") for pattern in stream.subjects), stream) for stream in STREAMS
]
EMITTED: Final[Sequence[Stream]] = (EVENTS, JOBS)  # where what transactions emit goes


def holding(subject: str) -> Stream:
    """The stream that stores a subject.

    Raises:
        LookupError: no stream takes it.
    """
    for prefixes, stream in _PREFIXES:
        if subject.startswith(prefixes):
            return stream
    raise LookupError(f"no stream takes the subject {subject}")


def deferral(durable: str, sequence: int) -> str:
    """The subject in ZW_DEFERRALS that counts how often a durable put a message off."""
    return f"zw.deferral.{token(durable)}.{sequence}"


def max_deliveries_advisory(stream: str, durable: str) -> str:
    """The subject on which the server says that a message was delivered too often."""
    return f"{_ADVISORY}.MAX_DELIVERIES.{token(stream)}.{token(durable)}"


def terminated_advisory(stream: str, durable: str) -> str:
    """The subject on which the server says that a consumer ended a message's life."""
    return f"{_ADVISORY}.MSG_TERMINATED.{token(stream)}.{token(durable)}"


def durable(name: str) -> Durable | None:
    """The durable of that name; None when this version of the program has none."""
    return next((each for each in DURABLES if each.name == name), None)


def _facts(name: str, description: str, *events: type[Event]) -> Durable:
    filters = tuple(sorted(subjects.facts(event) for event in events))
    return Durable(name, description, EVENTS.name, (*filters, subjects.redrive(name)))


GITHUB: Final = _facts("github-v1", "Pushes become deployments", github.PushReceived)
GITHUB_INSTALLATIONS: Final = replace(
    _facts(
        "github-installations-v1",
        "Keeps installations and repositories as GitHub has them",
        installations.InstallationChanged,
        installations.RepositoryChanged,
    ),
    attempts=10,
    delays=(1.0, 5.0, 30.0, 120.0, 600.0),
    deadline=300.0,
)
GITHUB_REPORTS: Final = replace(
    _facts(
        "github-reports-v1",
        "Tells GitHub how deployments stand",
        deployments.DeploymentActivated,
        deployments.DeploymentBuilding,
        deployments.DeploymentCancelled,
        deployments.DeploymentCreated,
        deployments.DeploymentDeploying,
        deployments.DeploymentFailed,
        deployments.DeploymentStopped,
        deployments.DeploymentSuperseded,
    ),
    attempts=12,
    delays=(2.0, 10.0, 30.0, 120.0, 600.0),
    deferrals=200,
)
GITHUB_COMMENTS: Final = replace(
    _facts(
        "github-comments-v1",
        "Keeps the comments on pull requests up to date",
        deployments.DeploymentActivated,
        deployments.DeploymentBuilding,
        deployments.DeploymentCancelled,
        deployments.DeploymentCreated,
        deployments.DeploymentDeploying,
        deployments.DeploymentFailed,
        deployments.DeploymentStopped,
        previews.PreviewClosed,
        previews.PreviewWaiting,
    ),
    attempts=12,
    delays=(2.0, 10.0, 30.0, 120.0, 600.0),
    deferrals=200,
)
DEPLOYMENTS: Final = _facts(
    "deployments-v1",
    "Moves deployments along their states",
    builds.BuildStarted,
    builds.BuildSucceeded,
    builds.BuildFailed,
    instances.InstanceReady,
    instances.InstanceFailed,
    instances.InstanceStopped,
    instances.InstanceLost,
)
SCHEDULING: Final = _facts(
    "scheduling-v1",
    "Places instances on nodes",
    instances.InstanceCreated,
    instances.InstanceLost,
    nodes.NodeReady,
)
INSTANCES: Final = _facts("instances-v1", "Takes the nodes' reports", instances.InstanceReported)
ROUTING: Final = _facts(
    "routing-v1",
    "Keeps routing_cache and tells the proxies",
    environments.EnvironmentClosing,
    environments.EnvironmentCreated,
    projects.ProjectCreated,
    deployments.DeploymentActivated,
    deployments.DeploymentCancelled,
    deployments.DeploymentFailed,
    deployments.DeploymentStopped,
    deployments.DeploymentSuperseded,
    instances.InstanceReady,
    instances.InstanceUnready,
    instances.InstanceFailed,
    instances.InstanceStopped,
    instances.InstanceLost,
)
ROUTE_CACHE: Final = _facts(
    "route-cache-v1",
    "Copies routes into the shared cache",
    routes.RouteChanged,
    routes.RouteRemoved,
)
PREVIEWS: Final = _facts(
    "previews-v1",
    "Pull requests and branches get previews, and lose them",
    github.PullRequestReceived,
    previews.BranchPushed,
    previews.PreviewApproved,
)
BUILDS_PRODUCTION: Final = Durable(
    "build-production-v1",
    "Builds for production",
    JOBS.name,
    (subjects.jobs(builds.BuildRequested, "production"),),
    ack_wait=60.0,
    attempts=3,
    delays=(10.0, 60.0),
    deferrals=3600,  # a request waits for a slot by being put off, for as long as a queue may take
    max_ack_pending=64,
    deadline=1200.0,
)
DEPLOYS: Final = Durable(
    "deploys-v1",
    "Finds the commits of branches and tags that are to be deployed",
    JOBS.name,
    (subjects.jobs(triggers.DeployRequested, "production"),),
    attempts=3,
    delays=(2.0, 10.0),
    max_ack_pending=32,
)
DEAD_LETTERS: Final = Durable(
    "dead-letters-v1",
    "Copies dead letters into their table",
    DLQ.name,
    ("zw.dlq.>",),
    endless=True,
)
ADVISED: Final = Durable(
    "advisories-v1",
    "Buries messages that the server gave up",
    ADVISORIES.name,
    ADVISORIES.subjects,
    endless=True,
)
REDRIVES: Final = replace(
    _facts(
        "redrives-v1",
        "Hands dead letters back to the durable that failed",
        dead_letters.DeadLetterRedriven,
    ),
    endless=True,
)
OPERATIONS: Final = Durable(
    "operations-v1",
    "Replays, refills and rebuilds that an operator asked for",
    JOBS.name,
    (subjects.jobs(operations.OperationRequested, "production"),),
    ack_wait=60.0,
    attempts=3,
    delays=(5.0, 30.0),
    max_ack_pending=8,
    deadline=3600.0,
)
DURABLES: Final[Sequence[Durable]] = (
    ADVISED,
    BUILDS_PRODUCTION,
    DEAD_LETTERS,
    DEPLOYMENTS,
    DEPLOYS,
    GITHUB,
    GITHUB_COMMENTS,
    GITHUB_INSTALLATIONS,
    GITHUB_REPORTS,
    INSTANCES,
    OPERATIONS,
    PREVIEWS,
    REDRIVES,
    ROUTE_CACHE,
    ROUTING,
    SCHEDULING,
)
