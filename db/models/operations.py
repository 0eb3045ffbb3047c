"""Operations: replays, refills and rebuilds that an operator asked for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base, Versioned
from events.states import OperationState
from zeitwork.ids import Prefix


class Operation(Versioned, Base):
    """One piece of work on the platform itself, and its report once it has ended.

    Attributes:
        kind: names the handler (consumers/operations/registry.py).
        params: what the operator said, checked by that kind.
        report: for people and scripts; its form is the kind's.
        deadline_at: when it has lasted too long (null once it has ended).
    """

    __tablename__ = "operations"
    __table_args__ = (
        Index("ix_operations_open", "deadline_at", postgresql_where="deadline_at IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.OPERATION), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    params: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[OperationState] = state(OperationState, "state")
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(Prose)
    actor: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Utc | None]
    finished_at: Mapped[Utc | None]
    deadline_at: Mapped[Utc | None]
