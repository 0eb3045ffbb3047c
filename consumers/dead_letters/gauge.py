"""Measures how many dead letters wait for a decision."""

from __future__ import annotations

from collections import Counter

from db.queries.dead_letters import dead_letters_open
from db.session import UnitOfWork
from events import streams
from zeitwork import logs, metrics

_log = logs.get(__name__)
_OTHER = "other"  # durables of another version, or made up by whoever wrote the letter


class DeadLetterGauge:
    """One round: count, and say so when the number has changed."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work
        self._seen: Counter[str] = Counter()

    async def round(self) -> None:
        async with self._work.database.read() as session:
            found = await dead_letters_open(session)
        counts: Counter[str] = Counter()
        for name, count in found.items():
            counts[name if streams.durable(name) else _OTHER] += count
        for name in {each.name for each in streams.DURABLES} | {_OTHER}:
            metrics.DEAD_LETTERS_OPEN.labels(name).set(counts[name])
        if counts != self._seen:
            _log.info("dead letters open", total=counts.total(), durables=dict(counts))
            self._seen = counts

    def rest(self) -> None:
        """Another process measures: two gauges would count twice, and this one grow stale."""
        metrics.DEAD_LETTERS_OPEN.clear()
        self._seen = Counter()
