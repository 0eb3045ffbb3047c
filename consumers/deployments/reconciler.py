"""Finds deployments whose state has lasted too long, so that none is stuck for ever."""

from __future__ import annotations

from consumers.deployments.handler import Reason, fail
from db.models import Deployment
from db.queries.builds import builds_cancel
from db.queries.deployments import (
    DEADLINES,
    deployment_lock,
    deployments_overdue,
)
from db.queries.projects import environment_lock
from db.session import UnitOfWork
from events.states import DeploymentState
from zeitwork import clock, context, logs

_log = logs.get(__name__)
_BATCH = 50


class DeploymentReconciler:
    """One round: end what is overdue; what waits for a node goes on waiting."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        async with self._work.database.read() as session:
            overdue = await deployments_overdue(session, clock.now(), limit=_BATCH)
        for deployment in overdue:
            await self._settle(deployment)

    async def _settle(self, seen: Deployment) -> None:
        async with self._work.transaction() as tx:
            await environment_lock(tx.session, seen.environment_id)
            deployment = await deployment_lock(tx.session, seen.id)
            now = clock.now()
            if deployment is None or deployment.deadline_at is None or deployment.deadline_at > now:
                return
            if deployment.waiting_reason is not None:
                deployment.deadline_at = now + DEADLINES[DeploymentState.DEPLOYING]
                return
            _log.warning(
                "deployment overdue", deployment_id=deployment.id, state=str(deployment.state)
            )
            reason = Reason(
                "deadline_exceeded",
                f"It stayed in state {deployment.state} for too long. Deploy again; "
                "if it happens again, look at the logs of the consumers.",
            )
            with context.bind(correlation_id=deployment.correlation_id):
                await builds_cancel(tx, deployment.id)
                fail(tx, deployment, reason)
