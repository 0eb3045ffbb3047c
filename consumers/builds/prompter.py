"""Asks again for builds that this machine could begin and that no request brings here.

Requests wait for up to a minute with a builder that was killed, and whoever made room asks for the
next build only if it lives. A machine that has room need not wait for either.
"""

from __future__ import annotations

from consumers.builds.claims import Place
from consumers.builds.requests import ask_again, asked_lately
from db.queries.build_queue import queue_lock, queue_read
from db.queries.builds import build_lock, build_requests
from db.session import UnitOfWork
from events.build_order import startable
from events.states import terminal
from zeitwork import clock, logs

_log = logs.get(__name__)


class Prompter:
    """One round: look what could begin, and ask for what the round before has seen as well.

    Between two rounds a request that is on its way has long arrived. One too many does no harm: it
    finds nothing to take.
    """

    def __init__(self, work: UnitOfWork, place: Place) -> None:
        self._work = work
        self._place = place
        self._seen: frozenset[str] = frozenset()

    async def round(self) -> None:
        now, seen = clock.now(), self._seen
        async with self._work.database.read() as session:
            queue = await queue_read(session, now, of="candidates")
        could = startable(queue, self._place.limits, now)
        self._seen = frozenset(each.build_id for each in could)
        for build_id in sorted(self._seen & seen):
            await self._ask(build_id)

    async def _ask(self, build_id: str) -> None:
        async with self._work.transaction() as tx:
            await queue_lock(tx.session)
            build = await build_lock(tx.session, build_id)
            if build is None or terminal(build.state):
                return
            if build.lease_until is not None and build.lease_until > clock.now():
                return
            requests = await build_requests(tx.session, build.id)
            if any(request.waits for request in requests) or asked_lately(requests):
                return
            build.passed_at = None
            cause = requests[0].event.event_id if requests else None
            await ask_again(tx, build, cause=cause)
        _log.warning("waiting build asked for again", build_id=build_id)
