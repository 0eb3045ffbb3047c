"""Asks again for builds that nobody works on, because their job was lost with the broker."""

from __future__ import annotations

from datetime import timedelta

from consumers.builds.requests import ask_again, asked_lately
from db.models import Build
from db.queries.builds import build_lock, build_requests, builds_stranded
from db.session import UnitOfWork
from events.bus import Bus
from events.states import terminal
from events.streams import JOBS
from zeitwork import clock, logs

_log = logs.get(__name__)
_BATCH = 200
_QUEUED = timedelta(minutes=1)
_SILENT = timedelta(minutes=3)  # a lease is one minute, and its job then comes within another


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
            if any(request.waits for request in requests):
                return
            if asked_lately(requests):
                return
            # The bus is asked last: a builder that takes the job meanwhile has to wait for the row.
            for request in requests:
                if await self._bus.holds(JOBS.name, request.event.subject):
                    return
            cause = requests[0].event.event_id if requests else None
            await ask_again(tx, build, cause=cause)
        _log.warning("build asked for again", build_id=build.id, state=str(build.state))
