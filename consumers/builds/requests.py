"""Asking once more for a build whose request another build has used up, or that was lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from db.models import Build
from db.queries.builds import Request
from db.queries.deployments import deployment_find
from db.session import Transaction
from events.builds import BuildRequested
from zeitwork import clock, context

# Between two requests for a build; doubled with each, since one that nobody can build is not to be
# asked for without end.
_AGAIN = timedelta(minutes=1)


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


def asked_lately(requests: Sequence[Request]) -> bool:
    """Whether a build has been asked for again, and not long ago; its requests, newest first."""
    if len(requests) < 2:  # noqa: PLR2004 - the first one is its deployment's
        return False
    pause = _AGAIN * (1 << min(len(requests) - 2, 10))
    return requests[0].event.created_at > clock.now() - pause
