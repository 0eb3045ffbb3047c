"""Finds deployments whose state has lasted too long, so that none is stuck for ever."""

from __future__ import annotations

from consumers.deployments.handler import Reason, advance, fail
from db.models import Deployment
from db.queries.builds import build_held_until, builds_cancel
from db.queries.deployments import (
    deploying_until,
    deployment_lock,
    deployments_overdue,
)
from db.queries.projects import environment_lock, environment_lock_if_there
from db.queries.releases import releases_idle
from db.session import UnitOfWork
from zeitwork import clock, context, logs

_log = logs.get(__name__)
_BATCH = 50


class DeploymentReconciler:
    """One round: take the step behind each release, end what is overdue.

    What waits for a node, or for another release, goes on waiting; what a builder holds goes on.
    """

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        async with self._work.database.read() as session:
            idle = await releases_idle(session, limit=_BATCH)
        for deployment in idle:
            await self._advance(deployment)
        async with self._work.database.read() as session:
            overdue = await deployments_overdue(session, clock.now(), limit=_BATCH)
        for deployment in overdue:
            await self._settle(deployment)

    async def _advance(self, seen: Deployment) -> None:
        """The end that should have led on may have gone unheard; most often there is no step."""
        async with self._work.transaction() as tx:
            await environment_lock_if_there(tx.session, seen.environment_id)
            deployment = await deployment_lock(tx.session, seen.id)
            if deployment is not None:
                await advance(tx, deployment)

    async def _settle(self, seen: Deployment) -> None:
        async with self._work.transaction() as tx:
            await environment_lock(tx.session, seen.environment_id)
            deployment = await deployment_lock(tx.session, seen.id)
            now = clock.now()
            if deployment is None or deployment.deadline_at is None or deployment.deadline_at > now:
                return
            if deployment.waiting_reason is not None:
                deployment.deadline_at = deploying_until()
                return
            held_until = await build_held_until(tx.session, deployment.id)
            if held_until is not None and held_until > now:
                deployment.deadline_at = held_until  # its builder keeps the deadline of the build
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
