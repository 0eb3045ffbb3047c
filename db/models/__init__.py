"""Every model, so that the metadata is complete; and which tables row-level security guards."""

from __future__ import annotations

from db.models.artifacts import Artifact, ArtifactLayer, StoredBlob
from db.models.base import Base
from db.models.builds import Build, BuilderHost, BuildLog, BuildLogPack
from db.models.dead_letters import DeadLetter
from db.models.deployments import Deployment
from db.models.github import GitRef, PullRequest, WebhookDelivery
from db.models.github_app import (
    GitHubDeliveryScan,
    GitHubInstallation,
    GitHubRedelivery,
    GitHubReport,
    GitHubRepository,
)
from db.models.github_comments import GitHubComment
from db.models.hooks import DeployHook
from db.models.instances import Instance
from db.models.nodes import Node
from db.models.operations import Operation
from db.models.organisations import Membership, Organisation, User
from db.models.outbox import EventLog, Inbox, Lease, Outbox
from db.models.previews import Preview
from db.models.projects import Environment, Project
from db.models.routes import RoutingCache
from db.models.triggers import Trigger
from db.models.variables import DeploymentVariable, Variable

__all__ = [
    "Artifact",
    "ArtifactLayer",
    "Base",
    "Build",
    "BuildLog",
    "BuildLogPack",
    "BuilderHost",
    "DeadLetter",
    "DeployHook",
    "Deployment",
    "DeploymentVariable",
    "Environment",
    "EventLog",
    "GitHubComment",
    "GitHubDeliveryScan",
    "GitHubInstallation",
    "GitHubRedelivery",
    "GitHubReport",
    "GitHubRepository",
    "GitRef",
    "Inbox",
    "Instance",
    "Lease",
    "Membership",
    "Node",
    "Operation",
    "Organisation",
    "Outbox",
    "Preview",
    "Project",
    "PullRequest",
    "RoutingCache",
    "StoredBlob",
    "Trigger",
    "User",
    "Variable",
    "WebhookDelivery",
]
