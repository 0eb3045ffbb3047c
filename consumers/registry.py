"""The second wiring table: durable → event → handler → concurrency. All consumers on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consumers.binding import Binding, Bound, RawBinding
from consumers.dead_letters import handler as dead_letters
from consumers.deployments import handler as deployments
from consumers.deploys.handler import Deployer
from consumers.github import handler as github
from consumers.github.installations import Keeper
from consumers.handling import FactHandler, once
from consumers.instances import handler as instances
from consumers.operations.handler import Operator
from consumers.operations.registry import runners as operation_runners
from consumers.previews import handler as previews
from consumers.routing import caching
from consumers.routing import handler as routing
from consumers.routing.rebuild import RoutingRebuilder
from consumers.scheduling import handler as scheduling
from consumers.together import OneTransaction
from consumers.wiring import Wiring
from events import builds, streams
from events import dead_letters as dead_letter_facts
from events import deployments as deployment_facts
from events import environments as environment_facts
from events import github as github_facts
from events import installations as installation_facts
from events import instances as instance_facts
from events import nodes as node_facts
from events import operations as operation_facts
from events import previews as preview_facts
from events import projects as project_facts
from events import routes as route_facts
from events import triggers as trigger_facts
from events.event import Event
from events.streams import Durable

GROUPS = (
    "builds",
    "dead-letters",
    "deployments",
    "deploys",
    "github",
    "github-reports",
    "instances",
    "operations",
    "previews",
    "route-cache",
    "routing",
    "scheduling",
)


def bindings(wiring: Wiring, groups: Sequence[str] = GROUPS) -> list[Bound]:
    """The bindings of the named groups; every group by default."""
    table: dict[str, Bound | tuple[Bound, ...]] = {
        **_triggers(wiring),
        "builds": Binding(
            streams.BUILDS_PRODUCTION,
            {builds.BuildRequested: wiring.builder.build_requested},
            concurrency=wiring.build_slots,
        ),
        "dead-letters": (
            RawBinding(streams.ADVISED, dead_letters.Undertaker(wiring.bus)),
            RawBinding(streams.DEAD_LETTERS, dead_letters.Registrar(wiring.work)),
            _facts(
                wiring,
                streams.REDRIVES,
                {dead_letter_facts.DeadLetterRedriven: dead_letters.Redriver(wiring.bus)},
                together=False,
            ),
        ),
        "deployments": _deployments(wiring),
        "github-reports": _github_reports(wiring),
        "instances": _facts(
            wiring,
            streams.INSTANCES,
            {instance_facts.InstanceReported: instances.instance_reported},
        ),
        "operations": Binding(
            streams.OPERATIONS,
            {operation_facts.OperationRequested: _operator(wiring).operation_requested},
            concurrency=2,
        ),
        "route-cache": Binding(
            streams.ROUTE_CACHE,
            dict.fromkeys(
                (route_facts.RouteChanged, route_facts.RouteRemoved), caching.copy_to(wiring.cache)
            ),
        ),
        "routing": _facts(
            wiring, streams.ROUTING, dict.fromkeys(_ROUTING, routing.look(wiring.drain_seconds))
        ),
        "scheduling": _facts(
            wiring,
            streams.SCHEDULING,
            {
                instance_facts.InstanceCreated: scheduling.instance_created,
                instance_facts.InstanceLost: scheduling.instance_lost,
                node_facts.NodeReady: scheduling.node_ready,
            },
        ),
    }
    found = [table[group] for group in groups]
    return [each for some in found for each in (some if isinstance(some, tuple) else (some,))]


_REPORTED: tuple[type[Event], ...] = (
    deployment_facts.DeploymentActivated,
    deployment_facts.DeploymentBuilding,
    deployment_facts.DeploymentCancelled,
    deployment_facts.DeploymentCreated,
    deployment_facts.DeploymentDeploying,
    deployment_facts.DeploymentFailed,
    deployment_facts.DeploymentStopped,
    deployment_facts.DeploymentSuperseded,
)


_COMMENTED: tuple[type[Event], ...] = (
    deployment_facts.DeploymentActivated,
    deployment_facts.DeploymentBuilding,
    deployment_facts.DeploymentCancelled,
    deployment_facts.DeploymentCreated,
    deployment_facts.DeploymentDeploying,
    deployment_facts.DeploymentFailed,
    deployment_facts.DeploymentStopped,
    preview_facts.PreviewClosed,
    preview_facts.PreviewWaiting,
)


def _triggers(wiring: Wiring) -> dict[str, Bound | tuple[Bound, ...]]:
    """What asks for deployments."""
    deployer = Deployer(wiring.work, wiring.refs, web_url=wiring.github_web_url)
    return {
        "deploys": Binding(
            streams.DEPLOYS, {trigger_facts.DeployRequested: deployer.deploy_requested}
        ),
        "github": _github(wiring),
        "previews": _previews(wiring),
    }


def _deployments(wiring: Wiring) -> Binding:
    return _facts(
        wiring,
        streams.DEPLOYMENTS,
        {
            builds.BuildFailed: deployments.build_failed,
            builds.BuildStarted: deployments.build_started,
            builds.BuildSucceeded: deployments.build_succeeded,
            instance_facts.InstanceFailed: deployments.instance_failed,
            instance_facts.InstanceLost: deployments.instance_ended,
            instance_facts.InstanceReady: deployments.instance_ready,
            instance_facts.InstanceStopped: deployments.instance_ended,
        },
    )


_ROUTING: tuple[type[Event], ...] = (
    deployment_facts.DeploymentActivated,
    deployment_facts.DeploymentCancelled,
    deployment_facts.DeploymentFailed,
    deployment_facts.DeploymentStopped,
    deployment_facts.DeploymentSuperseded,
    environment_facts.EnvironmentClosing,
    environment_facts.EnvironmentCreated,
    instance_facts.InstanceFailed,
    instance_facts.InstanceLost,
    instance_facts.InstanceReady,
    instance_facts.InstanceStopped,
    instance_facts.InstanceUnready,
    project_facts.ProjectCreated,
)


def _facts(
    wiring: Wiring,
    durable: Durable,
    handlers: dict[type[Event], FactHandler[Any]],
    *,
    together: bool = True,
) -> Binding:
    """Bind handlers of facts; `together` unless one has an effect outside of the database."""
    consumer = durable.name + wiring.inbox_suffix
    return Binding(
        durable,
        {event: once(wiring.work, consumer, handler) for event, handler in handlers.items()},
        together=OneTransaction(wiring.work, durable, consumer, handlers) if together else None,
    )


def _github_reports(wiring: Wiring) -> tuple[Binding, Binding]:
    report, comment = wiring.reports.deployment_changed, wiring.comments.preview_changed
    return (
        Binding(streams.GITHUB_REPORTS, dict.fromkeys(_REPORTED, report)),
        Binding(streams.GITHUB_COMMENTS, dict.fromkeys(_COMMENTED, comment)),
    )


def _github(wiring: Wiring) -> tuple[Binding, Binding]:
    durable = streams.GITHUB_INSTALLATIONS
    keeper = Keeper(
        wiring.work,
        app=wiring.github,
        web_url=wiring.github_web_url,
        consumer=durable.name + wiring.inbox_suffix,
    )
    installations = Binding(
        durable,
        {
            installation_facts.InstallationChanged: keeper.installation_changed,
            installation_facts.RepositoryChanged: keeper.repository_changed,
        },
        concurrency=2,
    )
    pushes = _facts(wiring, streams.GITHUB, {github_facts.PushReceived: github.push_received})
    return pushes, installations


def _previews(wiring: Wiring) -> Binding:
    durable = streams.PREVIEWS
    pulls = previews.PullRequests(
        wiring.work, app=wiring.github, consumer=durable.name + wiring.inbox_suffix
    )
    facts = _facts(
        wiring,
        durable,
        {
            preview_facts.BranchPushed: previews.branch_pushed,
            preview_facts.PreviewApproved: previews.preview_approved,
        },
    )
    return replace(
        facts, handlers={**facts.handlers, github_facts.PullRequestReceived: pulls.received}
    )


def _operator(wiring: Wiring) -> Operator:
    rebuilder = RoutingRebuilder(
        wiring.work, cache=wiring.cache, drain_seconds=wiring.drain_seconds
    )
    return Operator(wiring.work, operation_runners(wiring, bindings, rebuild_routing=rebuilder.run))
