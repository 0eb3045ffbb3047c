"""Who says what, and who listens: the senders and listeners that `events/streams.py` does not name.

Nothing runs by this table; the reference of events is made from it, and tests hold it against the
code. Every durable is a listener too. The API passes all facts on to its callers as server-sent
events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
    subjects,
    triggers,
    variables,
)
from events.event import Event

# By process; `ce-source` of what it sends is `zeitwork/<process>`.
SENDERS: Final[Mapping[str, frozenset[type[Event]]]] = {
    "api": frozenset(
        {
            builds.BuildRequested,
            dead_letters.DeadLetterDiscarded,
            dead_letters.DeadLetterRedriven,
            builds.BuildCancelled,
            deployments.DeploymentCancelled,
            deployments.DeploymentCreated,
            deployments.DeploymentStopped,
            environments.EnvironmentClosing,
            environments.EnvironmentCreated,
            github.PullRequestReceived,
            github.PushReceived,
            installations.InstallationChanged,
            installations.RepositoryChanged,
            nodes.NodeJoined,
            nodes.NodeReady,
            operations.OperationRequested,
            organisations.OrganisationCreated,
            previews.PreviewApproved,
            previews.PreviewClosed,
            projects.ProjectCreated,
            variables.VariableRevealed,
            variables.VariableSet,
            variables.VariableUnset,
            triggers.DeployRequested,
        }
    ),
    "consumers": frozenset(
        {
            builds.BuildCancelled,
            builds.BuildFailed,
            builds.BuildRequested,
            builds.BuildStarted,
            builds.BuildSucceeded,
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
            instances.InstanceCreated,
            instances.InstanceDraining,
            instances.InstanceFailed,
            instances.InstanceLost,
            instances.InstanceReady,
            instances.InstanceStopped,
            instances.InstanceUnready,
            nodes.NodeDesiredChanged,
            nodes.NodeLost,
            nodes.NodeReady,
            nodes.NodeSuspect,
            operations.OperationFinished,
            previews.BranchPushed,
            previews.PreviewClosed,
            previews.PreviewOpened,
            previews.PreviewWaiting,
            projects.ProjectRemoved,
            projects.ProjectSourceChanged,
            routes.RouteChanged,
            routes.RouteRemoved,
        }
    ),
    "node": frozenset({instances.InstanceReported}),
}

# By process, the filters of facts that each replica follows for itself, from the newest on.
FOLLOWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "node": (subjects.facts(nodes.NodeDesiredChanged),),
    "proxy": (subjects.aggregate_facts("route"),),
}


def senders(event: type[Event]) -> list[str]:
    """The processes that say it; none for an event of a part that is not built yet."""
    return sorted(name for name, events in SENDERS.items() if event in events)
