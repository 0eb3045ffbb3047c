"""Asking once more for a build whose request another build has used up, or that was lost."""

from __future__ import annotations

from db.models import Build
from db.queries.deployments import deployment_find
from db.session import Transaction
from events.builds import BuildRequested
from zeitwork import context


async def ask_again(tx: Transaction, build: Build, *, cause: str | None) -> None:
    """Emit the request of a build as its deployment did; `cause` is an event's id."""
    deployment = await deployment_find(tx.session, build.deployment_id)
    correlation = deployment.correlation_id if deployment is not None else None
    with context.bind(correlation_id=correlation, causation_id=cause):
        tx.emit(
            BuildRequested(build_id=build.id, deployment_id=build.deployment_id),
            subject=build.id,
            version=build.version,
            organisation_id=build.organisation_id,
            project_id=build.project_id,
        )
