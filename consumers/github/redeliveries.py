"""Finds the webhooks that did not reach us and asks GitHub for them: it never tries again itself.

A delivery comes again under the same guid, which is stored once; so asking too often is harmless.
https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from consumers.github.missed import OVERLAP, Attempt, missed, next_request
from db.models import GitHubRedelivery
from db.queries.github_redeliveries import (
    Missed,
    redeliveries_due,
    redeliveries_note,
    redeliveries_purge,
    redeliveries_recovered,
    scan_lock,
)
from db.session import UnitOfWork
from zeitwork import clock, logs, metrics
from zeitwork.errors import GitHubNotFound, GitHubRefused, GitHubUnavailable
from zeitwork.github import deliveries
from zeitwork.github.app import GitHubApp

_log = logs.get(__name__)
_PAGES = 10  # read in one round, of 100 deliveries each
_REQUESTS = 50  # made in one round


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where a reading of GitHub's list stands; it goes from the newest down to `floor`."""

    floor: datetime
    top: datetime | None
    cursor: str | None


class Redeliverer:
    """One round: read on, ask for what is due, forget what has arrived.

    A reading that is too long for one round goes on in the next, so a flood is read in the end.
    """

    def __init__(self, work: UnitOfWork, app: GitHubApp, *, window: timedelta) -> None:
        self._work = work
        self._app = app
        self._window = window

    async def round(self) -> None:
        try:
            await self._read()
            await self._ask()
        except GitHubUnavailable as error:
            # Of the next round, whose reading begins where this one stopped.
            _log.info("GitHub cannot tell of deliveries", code=error.code, detail=error.message)
        except GitHubRefused as error:
            _log.warning(
                "GitHub does not tell of deliveries", code=error.code, detail=error.message
            )
        await self._forget()

    async def _read(self) -> None:
        now = clock.now()
        async with self._work.transaction() as tx:
            row = await scan_lock(tx.session, floor_at=now - self._window)
            floor = max(row.floor_at - OVERLAP, now - self._window)
            reading = _Reading(floor, row.top_at, row.cursor)
        for _ in range(_PAGES):
            reading, found = await self._page(reading)
            await self._keep(reading, found)
            if reading.cursor is None:
                return

    async def _page(self, reading: _Reading) -> tuple[_Reading, list[Attempt]]:
        answer, following = await deliveries.page(self._app, cursor=reading.cursor)
        attempts = [
            Attempt(each.id, each.guid, each.event, each.delivered_at, each.status_code)
            for each in answer
        ]
        newest = max((each.at for each in attempts), default=None)
        top = reading.top if reading.cursor is not None else newest
        oldest = min((each.at for each in attempts), default=reading.floor)
        cursor = following if oldest > reading.floor else None
        return _Reading(reading.floor, top, cursor), attempts

    async def _keep(self, reading: _Reading, attempts: list[Attempt]) -> None:
        """What was found and how far we are, together: nothing is read past and then lost."""
        now = clock.now()
        lost = [
            Missed(each.guid, each.id, each.event, each.status, each.at)
            for each in missed(attempts, since=reading.floor).values()
        ]
        async with self._work.transaction() as tx:
            row = await scan_lock(tx.session, floor_at=reading.floor)
            row.cursor = reading.cursor
            row.top_at = reading.top if reading.cursor is not None else None
            if reading.cursor is None and reading.top is not None:
                row.floor_at = max(row.floor_at, reading.top)
            noted = await redeliveries_note(tx.session, lost, next_at=now)
            tx.on_commit(lambda: metrics.GITHUB_REDELIVERIES.labels("found").inc(noted))
        if noted:
            _log.warning("webhooks did not reach us", deliveries=noted)

    async def _ask(self) -> None:
        now = clock.now()
        async with self._work.transaction() as tx:
            # Those that came meanwhile, by another attempt, need no request.
            recovered = await redeliveries_recovered(tx.session)
            tx.on_commit(lambda: metrics.GITHUB_REDELIVERIES.labels("recovered").inc(recovered))
            due = await redeliveries_due(tx.session, now, limit=_REQUESTS)
            for each in due:
                # Before the request: one whose outcome is unknown counts as well.
                each.asked += 1
                each.next_at = next_request(each.asked, now=now)
        for each in due:
            await self._request(each)

    async def _request(self, wanted: GitHubRedelivery) -> None:
        if wanted.next_at is None:
            metrics.GITHUB_REDELIVERIES.labels("given_up").inc()
            _log.error("webhook given up after this request", guid=wanted.guid, event_=wanted.event)
        try:
            await deliveries.ask_again(self._app, wanted.attempt_id)
        except GitHubNotFound as error:
            _log.warning("webhook forgotten by GitHub", guid=wanted.guid, detail=error.message)
            return
        metrics.GITHUB_REDELIVERIES.labels("asked").inc()
        _log.info("webhook asked for again", guid=wanted.guid, requests=wanted.asked)

    async def _forget(self) -> None:
        async with self._work.transaction() as tx:
            recovered = await redeliveries_recovered(tx.session)
            lost = await redeliveries_purge(tx.session, clock.now() - self._window)
            tx.on_commit(lambda: metrics.GITHUB_REDELIVERIES.labels("recovered").inc(recovered))
        if recovered or lost:
            _log.info("missed webhooks settled", recovered=recovered, lost=lost)
