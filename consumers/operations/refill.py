"""Fills ZW_EVENTS from the event log after the broker has lost it, and queues open builds again.

Events keep their headers, subjects and ids, and come in the order of the log. Those that the
stream still holds are left out, so a second run adds nothing. Consumers get them all again; their
inboxes know what has taken effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from consumers.operations.handler import Report
from db.engine import Database
from db.models import EventLog
from db.queries.builds import build_requests, builds_open
from db.queries.event_log import EventFilter, events_pages
from events import subjects
from events.bus import Bus, Message
from events.operation_params import RefillParams
from events.streams import EVENTS, JOBS
from zeitwork import clock


class Refiller:
    """Runs operations of kind `refill`."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus

    async def run(self, _operation_id: str, _params: RefillParams) -> Report:
        """Fill up and look whether all is there.

        Raises:
            BrokerUnavailable: NATS went away; running again goes on where this ended.
        """
        now = clock.now()
        # What waits in the outbox is the relay's to publish, and in its order.
        wanted = EventFilter(
            subject=subjects.ALL_FACTS,
            since=now - timedelta(seconds=EVENTS.max_age),
            until=now,
            relayed=True,
        )
        held = await self._held()
        logged: set[str] = set()
        published = 0
        async for page in events_pages(self._database, wanted):
            absent = [row for row in page if row.event_id not in held]
            await self._bus.publish([_message(row) for row in absent])
            published += len(absent)
            logged.update(row.event_id for row in page)
        builds = await self._queue_builds()
        return {
            "logged": len(logged),
            "held": len(logged & held),
            "published": published,
            # A server that has seen an id within its window of duplicates takes it for known.
            "missing": len(logged - await self._held()),
            "builds": builds,
        }

    async def _held(self) -> set[str]:
        """The ids of the events that the stream holds; its own limits bound them."""
        return {
            stored.headers["ce-id"]
            async for stored in self._bus.contents(EVENTS.name, subjects.ALL_FACTS)
            if "ce-id" in stored.headers
        }

    async def _queue_builds(self) -> int:
        """Put the jobs of open builds back; how many were gone."""
        async with self._database.read() as session:
            found = [
                requests[0]
                for build in await builds_open(session)
                if (requests := await build_requests(session, build.id))
            ]
        gone: Sequence[EventLog] = [
            request.event
            for request in found
            if not request.waits and not await self._bus.holds(JOBS.name, request.event.subject)
        ]
        for event in gone:
            await self._bus.publish([_message(event)])
        return len(gone)


def _message(row: EventLog) -> Message:
    return Message(row.subject, row.payload, row.headers, row.event_id)
