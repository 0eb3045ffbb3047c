"""Ends operations that have lasted too long, so that nobody waits for ever."""

from __future__ import annotations

from db.queries.operations import operation_fail, operation_lock, operations_overdue
from db.session import UnitOfWork
from events.states import OperationState
from zeitwork import clock, logs
from zeitwork.errors import TimedOut

_log = logs.get(__name__)
_BATCH = 50
_WHY = {
    OperationState.QUEUED: "No consumer took it. Does the group `operations` run?",
    OperationState.RUNNING: "It did not end in time. What it did so far stays; ask for it again.",
}


class OperationReconciler:
    """One round: fail what is overdue."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        async with self._work.database.read() as session:
            overdue = await operations_overdue(session, clock.now(), limit=_BATCH)
        for operation in overdue:
            await self._end(operation.id)

    async def _end(self, operation_id: str) -> None:
        async with self._work.transaction() as tx:
            operation = await operation_lock(tx.session, operation_id)
            if operation is None or operation.deadline_at is None:
                return
            if operation.deadline_at > clock.now():
                return
            _log.warning("operation overdue", operation_id=operation.id, state=str(operation.state))
            operation_fail(tx, operation, TimedOut(_WHY[operation.state]))
