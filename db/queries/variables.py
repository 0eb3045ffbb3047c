"""Variables: setting and finding them, what a deployment is given, sealing them anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, delete, func, insert, literal, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import Select

from db.models import Deployment, DeploymentVariable, Environment, Project, Variable
from db.session import Transaction
from events.environments import EnvironmentKind
from events.states import DeploymentState
from events.variables import (
    VariableFact,
    VariablePhase,
    VariableRevealed,
    VariableScope,
    VariableSet,
    VariableUnset,
)
from zeitwork import clock, context, ids
from zeitwork.sealing import KeyRing, Sealed

_RANK = {scope: rank for rank, scope in enumerate(VariableScope)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variable counts; `environment_id` is given for the scope of an environment only."""

    scope: VariableScope
    environment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project's current variables take up."""

    count: int
    size: int


async def project_lock(session: AsyncSession, project_id: str) -> None:
    """Changes of a project's variables go one by one; rows that refer to it are not held up."""
    await session.execute(
        select(Project.id).where(Project.id == project_id).with_for_update(key_share=True)
    )


async def variables_current(session: AsyncSession, project_id: str) -> Sequence[Variable]:
    """By name, then from the widest scope to the narrowest."""
    query = (
        select(Variable)
        .where(Variable.project_id == project_id, Variable.replaced_at.is_(None))
        .order_by(Variable.name, _rank(), Variable.environment_id)
    )
    return (await session.execute(query)).scalars().all()


async def variable_find(
    session: AsyncSession, project_id: str, place: Place, *, name: str
) -> Variable | None:
    query = select(Variable).where(
        Variable.project_id == project_id,
        Variable.replaced_at.is_(None),
        Variable.scope == place.scope,
        Variable.environment_id.is_not_distinct_from(place.environment_id),
        Variable.name == name,
    )
    return (await session.execute(query)).scalar_one_or_none()


async def variables_usage(session: AsyncSession, project_id: str) -> Usage:
    query = select(func.count(), func.coalesce(func.sum(Variable.size), 0)).where(
        Variable.project_id == project_id, Variable.replaced_at.is_(None)
    )
    return Usage(*(await session.execute(query)).one())


async def variable_set(
    tx: Transaction,
    project: Project,
    place: Place,
    *,
    name: str,
    value: str,
    phase: VariablePhase,
    keys: KeyRing,
) -> Variable:
    """A value in the place of the present one; lock the project first.

    Raises:
        SealKeyMissing: there is no key to seal it with.
    """
    before = await variable_find(tx.session, project.id, place, name=name)
    if before is not None:
        before.replaced_at = clock.now()
        await tx.session.flush()
    plain = value.encode()
    variable = Variable(
        id=ids.new(ids.Prefix.VARIABLE),
        organisation_id=project.organisation_id,
        project_id=project.id,
        environment_id=place.environment_id,
        scope=place.scope,
        phase=phase,
        name=name,
        size=len(plain),
        created_by=context.current().actor,
    )
    _seal(variable, plain, keys)
    tx.session.add(variable)
    await tx.session.flush()
    _emit(tx, variable, VariableSet(**_said(variable), phase=phase))
    return variable


def variable_unset(tx: Transaction, variable: Variable) -> None:
    variable.replaced_at = clock.now()
    _emit(tx, variable, VariableUnset(**_said(variable)))


def variable_reveal(tx: Transaction, variable: Variable, keys: KeyRing) -> str:
    """The value; who asked for it is on record."""
    _emit(tx, variable, VariableRevealed(**_said(variable)))
    return opened(variable, keys)


def opened(variable: Variable, keys: KeyRing) -> str:
    """The value.

    Raises:
        SealKeyMissing: its key is not on the ring.
        SealBroken: the row's sealed value was made for another row.
    """
    sealed = Sealed(variable.key_id, variable.sealed)
    return keys.open(sealed, bound_to=_bound(variable)).decode()


async def variables_pin(
    session: AsyncSession, deployment: Deployment, *, preview: bool, trusted: bool
) -> None:
    """Give a new deployment the values that count now; code that is not trusted gets none."""
    if not trusted:
        return
    chosen = _effective(deployment.project_id, deployment.environment_id, preview=preview)
    wanted = chosen.subquery()
    await session.execute(
        insert(DeploymentVariable).from_select(
            ["deployment_id", "variable_id", "organisation_id"],
            select(
                literal(deployment.id, DeploymentVariable.deployment_id.type),
                wanted.c.id,
                literal(deployment.organisation_id, DeploymentVariable.organisation_id.type),
            ),
        )
    )


async def variables_repin(session: AsyncSession, source: Deployment, target: Deployment) -> None:
    """Give a new deployment what another was created with: to roll back is to restore these too."""
    await session.execute(
        insert(DeploymentVariable).from_select(
            ["deployment_id", "variable_id", "organisation_id"],
            select(
                literal(target.id, DeploymentVariable.deployment_id.type),
                DeploymentVariable.variable_id,
                DeploymentVariable.organisation_id,
            ).where(DeploymentVariable.deployment_id == source.id),
        )
    )


async def variables_pinned(
    session: AsyncSession, deployment_id: str, *, phase: VariablePhase, keys: KeyRing
) -> dict[str, str]:
    """Names and values that a deployment has when it is built or run.

    Raises:
        SealKeyMissing, SealBroken: see `opened`.
    """
    query = (
        select(Variable)
        .join(DeploymentVariable, DeploymentVariable.variable_id == Variable.id)
        .where(
            DeploymentVariable.deployment_id == deployment_id,
            Variable.phase.in_([phase, VariablePhase.BOTH]),
        )
        .order_by(Variable.name)
    )
    found = (await session.execute(query)).scalars().all()
    return {variable.name: opened(variable, keys) for variable in found}


async def variables_named(
    session: AsyncSession, deployment_id: str, *, phase: VariablePhase
) -> Sequence[str]:
    """Only the names of `variables_pinned`."""
    query = (
        select(Variable.name)
        .join(DeploymentVariable, DeploymentVariable.variable_id == Variable.id)
        .where(
            DeploymentVariable.deployment_id == deployment_id,
            Variable.phase.in_([phase, VariablePhase.BOTH]),
        )
        .order_by(Variable.name)
    )
    return (await session.execute(query)).scalars().all()


async def deployments_outdated(
    session: AsyncSession, project_id: str
) -> Sequence[tuple[Deployment, Environment]]:
    """Deployments that serve with other values than a new one would get.

    Code that is not trusted has none and gets none.
    """
    query = (
        select(Deployment, Environment)
        .join(Environment, Environment.id == Deployment.environment_id)
        .where(
            Deployment.project_id == project_id,
            Deployment.state == DeploymentState.ACTIVE,
            Deployment.trusted,
        )
        .order_by(Environment.created_at, Environment.id)
    )
    outdated = []
    for deployment, environment in (await session.execute(query)).all():
        preview = environment.kind is EnvironmentKind.PREVIEW
        wanted = _effective(project_id, environment.id, preview=preview)
        has = select(DeploymentVariable.variable_id).where(
            DeploymentVariable.deployment_id == deployment.id
        )
        now = set((await session.scalars(wanted)).all())
        if now != set((await session.scalars(has)).all()):
            outdated.append((deployment, environment))
    return outdated


async def variables_by_key(session: AsyncSession) -> Mapping[str, int]:
    """How many values each key has sealed."""
    query = select(Variable.key_id, func.count()).group_by(Variable.key_id)
    found: dict[str, int] = {}
    for row in (await session.execute(query)).all():
        found[row[0]] = row[1]
    return found


async def variables_reseal(session: AsyncSession, keys: KeyRing, *, limit: int) -> int:
    """Seal up to so many values with the ring's first key; how many there were.

    Raises:
        SealKeyMissing, SealBroken: see `opened`.
    """
    query = (
        select(Variable)
        .where(Variable.key_id != keys.sealing_id)
        .order_by(Variable.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = (await session.execute(query)).scalars().all()
    for variable in found:
        _seal(variable, opened(variable, keys).encode(), keys)
    return len(found)


async def variables_discard(session: AsyncSession, before: datetime) -> None:
    """Forget values that were replaced before then and that no deployment has."""
    pinned = select(DeploymentVariable).where(DeploymentVariable.variable_id == Variable.id)
    await session.execute(
        delete(Variable)
        .where(Variable.replaced_at < before, ~pinned.exists())
        .execution_options(synchronize_session=False)
    )


def _effective(project_id: str, environment_id: str, *, preview: bool) -> Select[str]:
    """One id a name: the narrowest scope wins."""
    scopes = [Variable.scope == VariableScope.PROJECT]
    if preview:
        scopes.append(Variable.scope == VariableScope.PREVIEW)
    own = and_(
        Variable.scope == VariableScope.ENVIRONMENT, Variable.environment_id == environment_id
    )
    return (
        select(Variable.id)
        .ext(distinct_on(Variable.name))
        .where(
            Variable.project_id == project_id,
            Variable.replaced_at.is_(None),
            or_(*scopes, own),
        )
        .order_by(Variable.name, _rank().desc())
    )


def _rank() -> ColumnElement[int]:
    return case(_RANK, value=Variable.scope)


def _seal(variable: Variable, plain: bytes, keys: KeyRing) -> None:
    sealed = keys.seal(plain, bound_to=_bound(variable))
    variable.key_id, variable.sealed = sealed.key_id, sealed.content


def _bound(variable: Variable) -> tuple[str, ...]:
    """The row that a sealed value belongs to, and nothing that may change."""
    return (
        Variable.__tablename__,
        variable.id,
        variable.project_id,
        str(variable.scope),
        variable.environment_id or "",
        variable.name,
    )


def _said(variable: Variable) -> dict[str, str | None]:
    return {
        "variable_id": variable.id,
        "project_id": variable.project_id,
        "environment_id": variable.environment_id,
        "scope": variable.scope,
        "name": variable.name,
    }


def _emit(tx: Transaction, variable: Variable, fact: VariableFact) -> None:
    tx.emit(
        fact,
        subject=variable.id,
        organisation_id=variable.organisation_id,
        project_id=variable.project_id,
    )
