"""Operations: asking for one, finding it, and ending it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Operation
from db.session import Transaction
from events.operations import OperationFinished, OperationRequested
from events.states import OperationState, check
from zeitwork import clock, ids
from zeitwork.errors import ZeitworkError

# How long an operation may stay in a state before its reconciler ends it.
DEADLINES = {
    OperationState.QUEUED: timedelta(minutes=10),
    OperationState.RUNNING: timedelta(minutes=30),
}


def operation_create(
    tx: Transaction, kind: str, params: Mapping[str, Any], *, actor: str
) -> Operation:
    """A queued operation and the job that carries it out; `params` are checked already."""
    operation = Operation(
        id=ids.new(ids.Prefix.OPERATION),
        kind=kind,
        params=dict(params),
        state=OperationState.QUEUED,
        actor=actor,
        created_at=clock.now(),
        deadline_at=clock.now() + DEADLINES[OperationState.QUEUED],
    )
    tx.session.add(operation)
    tx.emit(OperationRequested(operation_id=operation.id, kind=kind), subject=operation.id)
    return operation


def operation_begin(operation: Operation) -> None:
    """Note that a (locked) operation runs; again after a crash, within the same deadline."""
    if operation.state is OperationState.RUNNING:
        return
    check(operation.state, OperationState.RUNNING)
    operation.state = OperationState.RUNNING
    operation.started_at = clock.now()
    operation.deadline_at = operation.started_at + DEADLINES[OperationState.RUNNING]


def operation_succeed(tx: Transaction, operation: Operation, report: Mapping[str, Any]) -> None:
    """End a (locked) operation well."""
    operation.report = dict(report)
    _finish(tx, operation, OperationState.SUCCEEDED)


def operation_fail(tx: Transaction, operation: Operation, error: ZeitworkError) -> None:
    """End a (locked) operation and say why."""
    operation.error_code, operation.error_detail = error.code, error.message
    _finish(tx, operation, OperationState.FAILED)


def _finish(tx: Transaction, operation: Operation, state: OperationState) -> None:
    check(operation.state, state)
    operation.state = state
    operation.finished_at = clock.now()
    operation.deadline_at = None
    tx.emit(
        OperationFinished(
            operation_id=operation.id,
            kind=operation.kind,
            ok=state is OperationState.SUCCEEDED,
        ),
        subject=operation.id,
        version=operation.version + 1,
    )


async def operation_find(session: AsyncSession, operation_id: str) -> Operation | None:
    return await session.get(Operation, operation_id)


async def operation_lock(session: AsyncSession, operation_id: str) -> Operation | None:
    query = (
        select(Operation)
        .where(Operation.id == operation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def operations_overdue(
    session: AsyncSession, now: datetime, *, limit: int
) -> Sequence[Operation]:
    query = select(Operation).where(Operation.deadline_at < now).limit(limit)
    return (await session.execute(query)).scalars().all()


async def operations_page(
    session: AsyncSession, *, before: str | None, limit: int
) -> Sequence[Operation]:
    """Newest first; `before` is the last id of the page before."""
    query = select(Operation).order_by(Operation.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Operation.id < before)
    return (await session.execute(query)).scalars().all()
