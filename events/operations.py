"""Operations: long work on the platform itself that an operator asks for, and what came of it."""

from __future__ import annotations

from events.event import Event


class OperationRequested(Event, type="operation.requested"):
    """Work: carry the operation out. The row holds kind and parameters."""

    operation_id: str
    kind: str


class OperationFinished(Event, type="operation.finished"):
    """It ended, well or not; the row holds its report."""

    operation_id: str
    kind: str
    ok: bool
