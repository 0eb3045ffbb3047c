"""How an operation ends: its report, its failure, or another try."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.operations.handler import Operator
from consumers.outcomes import Done, Drop
from db.models import Operation
from db.queries.operations import operation_create, operation_fail, operation_lock
from db.session import UnitOfWork
from events.envelope import Envelope, unwrap
from events.states import OperationState
from tests.support.factories import MovableClock, events_of, fetch
from zeitwork import clock
from zeitwork.errors import BrokerUnavailable, NotFound, TimedOut


class Scripted:
    """A runner that does what it is told, in order."""

    def __init__(self, *answers: Mapping[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    async def run(self, operation_id: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self.calls.append((operation_id, params))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def requested(work: UnitOfWork) -> Envelope:
    async with work.transaction() as tx:
        operation_create(tx, "replay", {"some": "thing"}, actor="test")
    (row,) = await events_of(work.database, type_="operation.requested")
    return unwrap(row.headers, row.payload)


async def row_of(work: UnitOfWork, envelope: Envelope) -> Operation:
    row = await fetch(work, Operation, envelope.subject)
    assert isinstance(row, Operation)
    return row


async def finished(work: UnitOfWork) -> list[bool]:
    rows = await events_of(work.database, type_="operation.finished")
    return [unwrap(row.headers, row.payload).data.model_dump()["ok"] for row in rows]


async def test_a_report_ends_it_and_a_second_delivery_runs_nothing(work: UnitOfWork) -> None:
    envelope = await requested(work)
    runner = Scripted({"counted": 3})
    operator = Operator(work, {"replay": runner.run})
    assert await operator.operation_requested(envelope) == Done()
    assert await operator.operation_requested(envelope) == Done()
    assert runner.calls == [(envelope.subject, {"some": "thing"})]
    row = await row_of(work, envelope)
    assert (row.state, row.report, row.deadline_at) == (
        OperationState.SUCCEEDED,
        {"counted": 3},
        None,
    )
    assert row.started_at is not None
    assert await finished(work) == [True]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("There is no such deployment."), "not_found"),
        (RuntimeError("with a secret in it"), "internal_error"),
        (TimedOut("too long"), "timed_out"),
    ],
    ids=["ours", "a fault", "time"],
)
async def test_what_no_second_try_can_help_fails_it_at_once(
    work: UnitOfWork, error: Exception, code: str
) -> None:
    envelope = await requested(work)
    await Operator(work, {"replay": Scripted(error).run}).operation_requested(envelope)
    row = await row_of(work, envelope)
    assert (row.state, row.error_code) == (OperationState.FAILED, code)
    assert "secret" not in (row.error_detail or "")
    assert await finished(work) == [False]


async def test_what_passes_by_itself_is_tried_again_within_the_same_deadline(
    work: UnitOfWork,
) -> None:
    envelope = await requested(work)
    operator = Operator(work, {"replay": Scripted(BrokerUnavailable("away"), {"n": 1}).run})
    with pytest.raises(BrokerUnavailable):
        await operator.operation_requested(envelope)
    running = await row_of(work, envelope)
    assert running.state is OperationState.RUNNING
    await operator.operation_requested(envelope)
    row = await row_of(work, envelope)
    assert (row.state, row.started_at) == (OperationState.SUCCEEDED, running.started_at)


async def test_a_delivery_after_the_deadline_ends_it(work: UnitOfWork) -> None:
    envelope = await requested(work)
    operator = Operator(work, {"replay": Scripted(BrokerUnavailable("away"), {"n": 1}).run})
    with pytest.raises(BrokerUnavailable):
        await operator.operation_requested(envelope)
    ahead = MovableClock()
    never = asyncio.Event()

    async def wait(_id: str, _params: Mapping[str, Any]) -> Mapping[str, Any]:
        await never.wait()
        return {}

    with clock.using(ahead):
        ahead.advance(31 * 60)
        await Operator(work, {"replay": wait}).operation_requested(envelope)
    assert (await row_of(work, envelope)).error_code == "timed_out"


async def test_what_ended_meanwhile_keeps_its_end(work: UnitOfWork) -> None:
    envelope = await requested(work)

    async def overtaken(operation_id: str, _params: Mapping[str, Any]) -> Mapping[str, Any]:
        async with work.transaction() as tx:
            row = await operation_lock(tx.session, operation_id)
            assert row is not None
            operation_fail(tx, row, TimedOut("the reconciler was faster"))
        return {"late": True}

    outcome = await Operator(work, {"replay": overtaken}).operation_requested(envelope)
    assert isinstance(outcome, Drop)
    row = await row_of(work, envelope)
    assert (row.state, row.report) == (OperationState.FAILED, None)
    assert await finished(work) == [False]
