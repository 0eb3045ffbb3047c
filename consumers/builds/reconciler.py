"""Asks again for builds that nobody works on, because their job was lost with the broker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from consumers.builds.claims import Claims, Place
from consumers.builds.requests import ask_again
from db.models import Build
from db.queries.builds import Request, build_lock, build_requests, builds_stranded
from db.session import UnitOfWork
from events.bus import Bus
from events.states import terminal
from events.streams import JOBS
from zeitwork import clock, logs

_log = logs.get(__name__)
_BATCH = 200
_QUEUED = timedelta(minutes=1)
_SILENT = timedelta(minutes=3)  # a lease is one minute, and its job then comes within another
# Between two requests for a build; doubled with each, since one that nobody can build is not to be
# asked for without end.
_AGAIN = timedelta(minutes=1)


class BuildReconciler:
    """One round: emit the requests that are missing."""

    def __init__(
        self,
        bus: Bus,
        work: UnitOfWork,
        place: Place = Place(),  # noqa: B008 - frozen
    ) -> None:
        self._bus = bus
        self._work = work
        self._claims = Claims(work, place)

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
        # Whoever made room has asked; this is for limits that were raised, and for the dead.
        await self._claims.ask_next()

    async def _ask_again(self, seen: Build) -> None:
        async with self._work.transaction() as tx:
            build = await build_lock(tx.session, seen.id)
            if build is None or terminal(build.state) or build.lease_until != seen.lease_until:
                return
            requests = await build_requests(tx.session, build.id)
            if any(request.waits for request in requests):
                return
            if len(requests) > 1 and _lately(requests):
                return
            # The bus is asked last: a builder that takes the job meanwhile has to wait for the row.
            for request in requests:
                if await self._bus.holds(JOBS.name, request.event.subject):
                    return
            cause = requests[0].event.event_id if requests else None
            await ask_again(tx, build, cause=cause)
        _log.warning("build asked for again", build_id=build.id, state=str(build.state))


def _lately(requests: Sequence[Request]) -> bool:
    pause = _AGAIN * (1 << min(len(requests) - 2, 10))
    return requests[0].event.created_at > clock.now() - pause
