"""Keeps the tables bounded: event log, inbox, replaced variables, what was decided long ago."""

from __future__ import annotations

from datetime import timedelta

from db import inbox
from db.queries import event_log
from db.queries.dead_letters import dead_letters_purge
from db.queries.github import git_facts_purge
from db.queries.github_comments import comments_purge
from db.queries.triggers import triggers_purge
from db.queries.variables import variables_discard
from db.session import UnitOfWork
from zeitwork import clock, logs

_log = logs.get(__name__)
_DAYS_AHEAD = 7
_EVENT_LOG_KEPT = timedelta(days=90)
_DECIDED_KEPT = _EVENT_LOG_KEPT  # dead letters and triggers
_REPLACED_KEPT = timedelta(hours=1)  # a deployment that is being created may still take them
# A day more than ZW_EVENTS keeps its messages: what comes later still cannot be told from news.
_INBOX_KEPT = timedelta(days=15)


class Housekeeper:
    """One round: make the coming days' partitions, drop what is past its time."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        now = clock.now()
        async with self._work.transaction() as tx:
            await event_log.ensure_partitions(tx.session, _DAYS_AHEAD)
        async with self._work.transaction() as tx:
            dropped = await event_log.drop_partitions_before(
                tx.session, (now - _EVENT_LOG_KEPT).date()
            )
            await inbox.purge(tx.session, now - _INBOX_KEPT)
            await dead_letters_purge(tx.session, now - _DECIDED_KEPT)
            await variables_discard(tx.session, now - _REPLACED_KEPT)
            await triggers_purge(tx.session, now - _DECIDED_KEPT)
            await git_facts_purge(tx.session, now - _INBOX_KEPT)
            await comments_purge(tx.session, now - _INBOX_KEPT)
        if dropped:
            _log.info("event log partitions dropped", partitions=dropped)
