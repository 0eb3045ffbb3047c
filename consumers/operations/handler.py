"""An operation's job → its kind's runner → the report in its row.

A redelivery after a crash runs it again, so every kind must bear that; of two that run at once,
only the first one's report counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from consumers.outcomes import Done, Drop, Outcome
from db.models import Operation
from db.queries.operations import (
    operation_begin,
    operation_fail,
    operation_lock,
    operation_succeed,
)
from db.session import UnitOfWork
from events.envelope import Envelope
from events.operations import OperationRequested
from events.states import terminal
from zeitwork import clock, logs
from zeitwork.errors import TimedOut, ZeitworkError

_log = logs.get(__name__)

Report: TypeAlias = Mapping[str, Any]
Runner: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Report]]


class Operator:
    """Handles requested operations with one runner a kind; runners get the id and parameters."""

    def __init__(self, work: UnitOfWork, runners: Mapping[str, Runner]) -> None:
        self._work = work
        self._runners = runners

    async def operation_requested(self, envelope: Envelope) -> Outcome:
        """Carry it out; what may pass by itself is left to the next delivery.

        Raises:
            ZeitworkError: only retryable ones.
        """
        event = envelope.data
        assert isinstance(event, OperationRequested)  # noqa: S101 - bound so by the registry
        operation = await self._begin(event.operation_id)
        if operation is None:
            return Done()
        try:
            report = await self._run(operation)
        except ZeitworkError as error:
            if error.retryable and not isinstance(error, TimedOut):
                raise
            return await self._end(operation.id, error)
        except Exception:  # noqa: BLE001 - its row must say so, whatever it was
            # A fault of ours: the operator hears of it at once, the log has the rest.
            _log.exception("operation crashed", operation_id=operation.id, kind=operation.kind)
            crash = ZeitworkError("Something went wrong on our side; the consumers' log says what.")
            return await self._end(operation.id, crash)
        return await self._end(operation.id, report)

    async def _begin(self, operation_id: str) -> Operation | None:
        async with self._work.transaction() as tx:
            operation = await operation_lock(tx.session, operation_id)
            if operation is None or terminal(operation.state):
                return None
            operation_begin(operation)
            return operation

    async def _run(self, operation: Operation) -> Report:
        assert operation.deadline_at is not None  # noqa: S101 - it has begun
        left = (operation.deadline_at - clock.now()).total_seconds()
        try:
            async with asyncio.timeout(left):
                return await self._runners[operation.kind](operation.id, operation.params)
        except TimeoutError as error:
            raise TimedOut("It took longer than an operation may. Narrow it down.") from error

    async def _end(self, operation_id: str, outcome: Report | ZeitworkError) -> Outcome:
        async with self._work.transaction() as tx:
            operation = await operation_lock(tx.session, operation_id)
            if operation is None or terminal(operation.state):
                return Drop("the operation has ended meanwhile")
            if isinstance(outcome, ZeitworkError):
                operation_fail(tx, operation, outcome)
            else:
                operation_succeed(tx, operation, outcome)
        return Done()
