"""Ends triggers that nobody has decided, so that nobody waits for them."""

from __future__ import annotations

from datetime import timedelta

from db.queries.triggers import trigger_finish, trigger_lock, triggers_overdue
from db.session import UnitOfWork
from events.states import TriggerState
from zeitwork import clock, logs

_log = logs.get(__name__)
_BATCH = 50
# Three attempts of a minute and what lies between them, with time to spare for a queue.
PATIENCE = timedelta(minutes=15)


class TriggerReconciler:
    """One round: fail what is overdue."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        async with self._work.database.read() as session:
            overdue = await triggers_overdue(session, before=clock.now() - PATIENCE, limit=_BATCH)
        for seen in overdue:
            async with self._work.transaction() as tx:
                trigger = await trigger_lock(tx.session, seen.id)
                if trigger is None or trigger.state is not TriggerState.PENDING:
                    continue
                trigger_finish(
                    trigger,
                    f"{trigger.ref} was not looked up in time. Deploy again; if it happens "
                    "again, look at the logs of the consumers.",
                )
            _log.warning("trigger overdue", trigger_id=seen.id)
