"""Packs the logs of builds that have ended: a table of single lines would grow without end."""

from __future__ import annotations

from datetime import timedelta

from db.queries.build_logs import build_logs_pack, build_logs_unpacked
from db.queries.builds import build_lock
from db.session import UnitOfWork
from zeitwork import clock

_BATCH = 20
_AFTER = timedelta(minutes=1)  # a builder may still write what a cancelled build said last
_MOST_PACKS = 200  # of one build in one round


class LogPacker:
    """One round: pack what has ended for long enough."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        async with self._work.database.read() as session:
            ended = await build_logs_unpacked(session, clock.now() - _AFTER, limit=_BATCH)
        for build in ended:
            await self._pack(build.id)

    async def _pack(self, build_id: str) -> None:
        for _ in range(_MOST_PACKS):
            async with self._work.transaction() as tx:
                build = await build_lock(tx.session, build_id)
                if build is None or build.log_packed:
                    return
                await build_logs_pack(tx.session, build)
