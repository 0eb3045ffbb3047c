"""Tells waiting builds, in their logs, where they stand in the queue; and says who builds here."""

from __future__ import annotations

from datetime import timedelta

from consumers.builds.claims import Place
from db.queries.build_logs import Line, build_logs_append, build_logs_last
from db.queries.build_queue import builder_seen, queue_forecast
from db.queries.builds import build_lock
from db.session import UnitOfWork
from events.build_order import Expectation
from events.states import BuildState
from zeitwork import clock

_MOST = 100  # builds from the head of the queue; those behind hear it when they come nearer
_PATIENCE = timedelta(seconds=3)  # most builds begin at once and have nothing to tell


class Announcer:
    """One round: write the place of each waiting build whose place has changed."""

    def __init__(self, work: UnitOfWork, place: Place) -> None:
        self._work = work
        self._place = place
        self._told: dict[str, int] = {}

    async def round(self) -> None:
        async with self._work.database.read() as session:
            places = await queue_forecast(
                session, clock.now(), per_organisation=self._place.per_organisation
            )
        self._told = {id_: at for id_, at in self._told.items() if id_ in places}
        for build_id, place in list(places.items())[:_MOST]:
            if self._told.get(build_id) != place.position:
                await self._tell(build_id, place)

    async def _tell(self, build_id: str, place: Expectation) -> None:
        async with self._work.transaction() as tx:
            build = await build_lock(tx.session, build_id)
            now = clock.now()
            if build is None or build.state is not BuildState.QUEUED:
                return
            if build.created_at > now - _PATIENCE:
                return
            number = await build_logs_last(tx.session, build_id) + 1
            await build_logs_append(tx.session, build, [Line(number, now, told(place))])
        self._told[build_id] = place.position


async def register(work: UnitOfWork, place: Place) -> None:
    """Say that this machine builds, so that the queue can tell how fast it moves."""
    async with work.transaction() as tx:
        await builder_seen(tx.session, place.name, slots=place.slots, now=clock.now())


def told(place: Expectation) -> str:
    """A place in the queue in words."""
    if place.begins_in is None:
        return f"Waiting for a builder: number {place.position} in the queue"
    seconds = place.begins_in.total_seconds()
    when = "now" if seconds < 1 else f"in about {_rounded(seconds)}"
    return f"Waiting for a builder: number {place.position} in the queue, begins {when}"


def _rounded(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004 - from here on minutes say more
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
