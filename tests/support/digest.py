"""What the database says, in words that are the same on every run; and what must never be so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from db.models import (
    Artifact,
    ArtifactLayer,
    Build,
    BuildLog,
    BuildLogPack,
    DeployHook,
    Deployment,
    DeploymentVariable,
    Environment,
    EventLog,
    GitHubComment,
    GitHubDeliveryScan,
    GitHubInstallation,
    GitHubRedelivery,
    GitHubReport,
    GitHubRepository,
    GitRef,
    Instance,
    Membership,
    Node,
    Organisation,
    Preview,
    Project,
    PullRequest,
    RoutingCache,
    StoredBlob,
    Trigger,
    User,
    Variable,
    WebhookDelivery,
)
from db.models.base import Base
from db.queries.routes import routes_all
from events.routes import Target
from events.states import DeploymentState, InstanceState

# Each model with the columns that tell its rows apart, parents first.
_NAMES: Sequence[tuple[type[Base], tuple[str, ...]]] = (
    (Organisation, ("slug",)),
    (User, ("email",)),
    (Membership, ("organisation_id", "user_id")),
    (Project, ("slug",)),
    (Environment, ("project_id", "name")),
    (Artifact, ("project_id", "digest")),
    (ArtifactLayer, ("artifact_id", "position")),
    (StoredBlob, ("digest",)),
    (Deployment, ("environment_id", "number")),
    (Build, ("deployment_id",)),
    (BuildLog, ("build_id", "line_number")),
    (BuildLogPack, ("build_id", "last_line")),
    (Node, ("name",)),
    (Instance, ("deployment_id", "slot")),
    (RoutingCache, ("host",)),
    (WebhookDelivery, ("guid",)),
    (GitHubInstallation, ("id",)),
    (GitHubRepository, ("id",)),
    (GitHubReport, ("deployment_id",)),
    (GitHubComment, ("organisation_id", "repository", "number")),
    (GitHubDeliveryScan, ("id",)),
    (GitHubRedelivery, ("guid",)),
    (GitRef, ("repository", "ref")),
    (PullRequest, ("repository", "number")),
    (Preview, ("project_id", "source")),
    (DeployHook, ("project_id", "name")),
    (Trigger, ("project_id", "environment_id", "delivery_id")),
    (Variable, ("project_id", "environment_id", "scope", "name")),
    (DeploymentVariable, ("deployment_id", "variable_id")),
)
BUSINESS_TABLES = frozenset(model.__tablename__ for model, _ in _NAMES)
# What an order of delivery may change and nobody can see: how often a row was written.
WRITES = ("version", "report_sequence")
_RANDOM = frozenset({"correlation_id", "lease_token", "traceparent"})


async def digest(database: Database, *, ignore: Collection[str] = ()) -> dict[str, list[str]]:
    """Every row of every business table, by table; equal for equal states of two databases.

    Ids are replaced by names made of natural keys. Of times and random tokens it only counts
    whether they are set.

    Args:
        ignore: columns that may differ.
    """
    names: dict[str, str] = {}
    tables: dict[str, list[str]] = {}
    async with database.read() as session:
        for model, keys in _NAMES:
            rows = await _rows(session, model)
            if model is RoutingCache:
                await _count_versions(session, rows)
            _name(rows, model.__tablename__, keys, names)
            said = [_said(row, names, ignore) for row in rows]
            tables[model.__tablename__] = sorted(json.dumps(row, sort_keys=True) for row in said)
    return tables


async def broken_rules(database: Database) -> list[str]:
    """What must hold at every moment: one version serves; routes lead to its ready instances."""
    async with database.read() as session:
        routes = await routes_all(session)
        instances = {row.id: row for row in (await session.scalars(select(Instance))).all()}
        active = await _active(session)
    counted = Counter(row.environment_id for row in active)
    broken = [f"{many} active in {where}" for where, many in counted.items() if many > 1]
    for route in routes:
        for target in route.targets:
            instance = instances[target.instance_id]
            fits = (
                instance.state is InstanceState.READY
                and instance.project_id == route.project_id
                and instance.deployment_id == route.deployment_id
                and target == _address(instance)
            )
            if not fits:
                broken.append(f"{route.host} leads to {instance.id} ({instance.state})")
    return broken


async def unfinished(database: Database) -> list[str]:
    """What must hold once all events are handled: routes are those of the active deployments."""
    async with database.read() as session:
        routes = {row.environment_id: row for row in await session.scalars(select(RoutingCache))}
        ready = select(Instance).where(Instance.state == InstanceState.READY).order_by(Instance.id)
        instances = (await session.scalars(ready)).all()
        serving = {row.environment_id: row.id for row in await _active(session)}
    found = []
    for environment_id, route in routes.items():
        active = serving.get(environment_id)
        wanted = [_address(row) for row in instances if row.deployment_id == active]
        if route.deployment_id != active or _targets(route) != wanted:
            found.append(f"{route.host} is not the route of {active}")
    found += [
        f"{row.id} runs on though its deployment does not serve"
        for row in instances
        if row.deployment_id not in serving.values()
    ]
    return found


async def _active(session: AsyncSession) -> Sequence[Deployment]:
    active = select(Deployment).where(Deployment.state == DeploymentState.ACTIVE)
    return (await session.scalars(active)).all()


def _targets(route: RoutingCache) -> list[Target]:
    return [Target.model_validate(target) for target in route.targets]


def _address(instance: Instance) -> Target | None:
    if instance.host is None or instance.port is None:
        return None
    return Target(instance_id=instance.id, host=instance.host, port=instance.port)


async def _rows(session: AsyncSession, model: type[Base]) -> list[dict[str, Any]]:
    """The rows of a table, oldest first."""
    columns = [attribute.key for attribute in inspect(model).column_attrs]
    found = (await session.scalars(select(model).order_by(*model.__table__.primary_key))).all()
    rows = [{column: getattr(row, column) for column in columns} for row in found]
    return sorted(rows, key=lambda row: (str(row.get("created_at", "")), str(row.get("id", ""))))


async def _count_versions(session: AsyncSession, routes: list[dict[str, Any]]) -> None:
    """A route's version begins with the time; what counts is how often it was told."""
    told = Counter(
        await session.scalars(
            select(EventLog.aggregate_id).where(EventLog.type.startswith("route."))
        )
    )
    for row in routes:
        row["version"] = told[row["environment_id"]]


def _name(
    rows: Sequence[dict[str, Any]], table: str, keys: Sequence[str], names: dict[str, str]
) -> None:
    """Give every row that has an id a name; rows with equal keys are numbered by age."""
    seen: Counter[str] = Counter()
    for row in rows:
        if "id" in row:
            name = f"{table}:{'/'.join(str(names.get(row[key], row[key])) for key in keys)}"
            seen[name] += 1
            names[row["id"]] = f"{name}#{seen[name]}"


def _said(row: dict[str, Any], names: dict[str, str], ignore: Collection[str]) -> dict[str, Any]:
    return {
        column: _same_on_every_run(value, names, random=column in _RANDOM)
        for column, value in row.items()
        if column not in ignore
    }


def _same_on_every_run(value: Any, names: dict[str, str], *, random: bool = False) -> Any:
    if isinstance(value, datetime) or (random and value is not None):
        return "set"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {key: _same_on_every_run(inner, names) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        items = [_same_on_every_run(inner, names) for inner in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return value
