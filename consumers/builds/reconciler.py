"""Asks again for builds that nobody works on, because their job was lost with the broker."""

from __future__ import annotations

from datetime import timedelta

from db.models import Build
from db.queries.builds import build_lock, build_requests, builds_stranded
from db.queries.deployments import deployment_find
from db.session import Transaction, UnitOfWork
from events.builds import BuildRequested
from events.bus import Bus
from events.states import terminal
from events.streams import JOBS
from zeitwork import clock, context, logs

_log = logs.get(__name__)
_BATCH = 200
_QUEUED = timedelta(minutes=1)
_SILENT = timedelta(minutes=3)  # a lease is one minute, and its job then comes within another
# A build that fails whoever takes it would be asked for without end; its deployment's deadline ends
# it instead.
_MOST_REQUESTS = 5


class BuildReconciler:
    """One round: emit the requests that are missing."""

    def __init__(self, bus: Bus, work: UnitOfWork) -> None:
        self._bus = bus
        self._work = work

    async def round(self) -> None:
        if await self._bus.ready() is not None:
            return  # nobody can tell which jobs there are
        now = clock.now()
        async with self._work.database.read() as session:
            stranded = await builds_stranded(
                session,
                created_before=now - _QUEUED,
                lease_before=now - _SILENT,
                limit=_BATCH,
            )
        for build in stranded:
            await self._ask_again(build)

    async def _ask_again(self, seen: Build) -> None:
        async with self._work.transaction() as tx:
            build = await build_lock(tx.session, seen.id)
            if build is None or terminal(build.state) or build.lease_until != seen.lease_until:
                return
            requests = await build_requests(tx.session, build.id)
            if len(requests) >= _MOST_REQUESTS or any(request.waits for request in requests):
                return
            # The bus is asked last: a builder that takes the job meanwhile has to wait for the row.
            for request in requests:
                if await self._bus.holds(JOBS.name, request.event.subject):
                    return
            cause = requests[0].event.event_id if requests else None
            await _request(tx, build, cause)
        _log.warning("build asked for again", build_id=build.id, state=str(build.state))


async def _request(tx: Transaction, build: Build, cause: str | None) -> None:
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
