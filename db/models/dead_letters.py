"""Dead letters: messages that no attempt could handle, and what was decided about each."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base, Versioned
from events.states import DeadLetterState
from zeitwork.ids import Prefix


class DeadLetter(Versioned, Base):
    """One message with all that its next try needs; without an organisation it is the platform's.

    Attributes:
        sequence: its place in `stream`; a stream that was made anew counts from 1 again.
        event_id: None when the message had no readable envelope, as are the four below it.
    """

    __tablename__ = "dead_letters"
    __table_args__ = (
        UniqueConstraint(
            "durable", "stream", "sequence", "event_id", postgresql_nulls_not_distinct=True
        ),
        Index("ix_dead_letters_open", "created_at", postgresql_where="state = 'open'"),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.DEAD_LETTER), primary_key=True)
    stream: Mapped[str] = mapped_column(String(64))
    durable: Mapped[str] = mapped_column(String(64))
    sequence: Mapped[int] = mapped_column(BigInteger)
    subject: Mapped[str] = mapped_column(String(255))
    event_id: Mapped[str | None] = mapped_column(String(64))
    event_type: Mapped[str | None] = mapped_column(String(64))
    correlation_id: Mapped[str | None] = mapped_column(String(64))
    organisation_id: Mapped[str | None] = mapped_column(Id(Prefix.ORGANISATION))
    project_id: Mapped[str | None] = mapped_column(Id(Prefix.PROJECT))
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    attempts: Mapped[int] = mapped_column(Integer)
    error_code: Mapped[str] = mapped_column(String(64))
    error_detail: Mapped[str] = mapped_column(Prose)
    state: Mapped[DeadLetterState] = state(DeadLetterState, "state")
    created_at: Mapped[CreatedAt]
    decided_at: Mapped[Utc | None]
    decided_by: Mapped[str | None] = mapped_column(String(200))
