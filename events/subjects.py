"""The wiring table: event type → subject → stream. Nobody writes a subject string elsewhere.

Facts: `zw.evt.<partition>.<aggregate>.<event>.<project>.<id>`; work:
`zw.job.<kind>.<class>.<project>.<id>`. The partition is a stable hash of the project (0 to 15), so
that one project's facts stay in one partition. Tokens are ids or fixed words, never user text;
`events/tokens.py` has the grammar, and every function here raises its InvalidName.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
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
    organisations,
    previews,
    projects,
    routes,
    triggers,
    variables,
)
from events.envelope import NO_PROJECT, Envelope
from events.event import Event
from events.tokens import token, wildcard

PARTITIONS = 16
JobClass = Literal["production", "preview"]

FACTS: Final[frozenset[type[Event]]] = frozenset(
    {
        builds.BuildCancelled,
        builds.BuildFailed,
        builds.BuildStarted,
        builds.BuildSucceeded,
        dead_letters.DeadLetterDiscarded,
        dead_letters.DeadLetterRedriven,
        deployments.DeploymentActivated,
        deployments.DeploymentBuilding,
        deployments.DeploymentCancelled,
        deployments.DeploymentCreated,
        deployments.DeploymentDeploying,
        deployments.DeploymentFailed,
        deployments.DeploymentStopped,
        deployments.DeploymentSuperseded,
        environments.EnvironmentClosing,
        environments.EnvironmentCreated,
        environments.EnvironmentRemoved,
        github.PullRequestReceived,
        github.PushReceived,
        installations.InstallationChanged,
        installations.RepositoryChanged,
        instances.InstanceCreated,
        instances.InstanceDraining,
        instances.InstanceFailed,
        instances.InstanceLost,
        instances.InstanceReady,
        instances.InstanceReported,
        instances.InstanceStopped,
        instances.InstanceUnready,
        nodes.NodeDesiredChanged,
        nodes.NodeJoined,
        nodes.NodeLost,
        nodes.NodeReady,
        nodes.NodeSuspect,
        operations.OperationFinished,
        organisations.OrganisationCreated,
        previews.BranchPushed,
        previews.PreviewApproved,
        previews.PreviewClosed,
        previews.PreviewOpened,
        previews.PreviewWaiting,
        projects.ProjectCreated,
        projects.ProjectRemoved,
        projects.ProjectSourceChanged,
        routes.RouteChanged,
        routes.RouteRemoved,
        variables.VariableRevealed,
        variables.VariableSet,
        variables.VariableUnset,
    }
)
JOBS: Final[Mapping[type[Event], str]] = {
    builds.BuildRequested: "build",
    operations.OperationRequested: "operation",
    triggers.DeployRequested: "deploy",
}

QUEUES_READ: Final = "zw.read.queues"
WAKE_OUTBOX: Final = "zw.wake.outbox"
ALL_FACTS: Final = "zw.evt.>"
HEARTBEATS: Final = "zw.node.*.hb"


def of(envelope: Envelope, *, job_class: JobClass = "production") -> str:
    """The subject that an event is published on."""
    event = type(envelope.data)
    project, id_ = token(envelope.project_id or NO_PROJECT), token(envelope.subject)
    if event in JOBS:
        return f"zw.job.{JOBS[event]}.{job_class}.{project}.{id_}"
    if event in FACTS:
        return f"zw.evt.{partition(project)}.{event.event_type}.{project}.{id_}"
    raise LookupError(f"{event.__name__} has no line in events/subjects.py")


def facts(event: type[Event], *, project: str = "*", subject: str = "*") -> str:
    """The filter for one fact, for a subscription."""
    return f"zw.evt.*.{event.event_type}.{wildcard(project)}.{wildcard(subject)}"


def aggregate_facts(aggregate: str) -> str:
    """The filter for every fact about one kind of aggregate, for a subscription."""
    return f"zw.evt.*.{token(aggregate)}.>"


def jobs(event: type[Event], job_class: JobClass) -> str:
    """The filter for one kind of work in one class."""
    return f"zw.job.{JOBS[event]}.{job_class}.>"


def partition(key: str) -> int:
    return zlib.crc32(key.encode()) % PARTITIONS


def redrive(durable: str) -> str:
    return f"zw.redrive.{token(durable)}.>"


def redriven(durable: str, original: str) -> str:
    """The subject on which only `durable` gets a message again that first came on `original`."""
    own = redrive(durable).removesuffix(">")
    return own + original.removeprefix(own).removeprefix("zw.")


def dead_letter(stream: str, durable: str, reason: str) -> str:
    """The subject of a dead letter; `*` stands for any, in a filter."""
    return f"zw.dlq.{wildcard(stream)}.{wildcard(durable)}.{wildcard(reason)}"


def heartbeat(node_id: str) -> str:
    return f"zw.node.{token(node_id)}.hb"


def log(kind: Literal["build", "instance"], id_: str) -> str:
    """Log lines of one build or instance, in ZW_LOGS."""
    return f"zw.log.{kind}.{token(id_)}"
