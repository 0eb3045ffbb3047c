"""The event log, the outbox in front of the broker, the inbox behind it, and leases."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    String,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc
from db.models.base import Base
from zeitwork.ids import Prefix


class EventLog(Base):
    """Every event ever emitted, append-only, partitioned by day.

    Platform events (a node, an unmatched push) have no organisation.
    """

    __tablename__ = "event_log"
    __table_args__ = (
        Index("ix_event_log_correlation_id", "correlation_id"),
        Index("ix_event_log_aggregate_id", "aggregate_id"),
        Index("ix_event_log_project_id", "project_id"),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), primary_key=True
    )
    event_id: Mapped[str] = mapped_column(Id(Prefix.EVENT))
    type: Mapped[str] = mapped_column(String(64))
    schema_version: Mapped[int] = mapped_column(Integer)
    aggregate_id: Mapped[str] = mapped_column(String(64))
    aggregate_version: Mapped[int] = mapped_column(BigInteger)
    organisation_id: Mapped[str | None] = mapped_column(Id(Prefix.ORGANISATION))
    project_id: Mapped[str | None] = mapped_column(Id(Prefix.PROJECT))
    correlation_id: Mapped[str] = mapped_column(String(64))
    causation_id: Mapped[str | None] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(255))
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    payload: Mapped[bytes] = mapped_column(LargeBinary)


class Outbox(Base):
    """Events not yet handed to JetStream; a row points at its event and is deleted on publish.

    The key is the order in which each stream's events are published.
    """

    __tablename__ = "outbox"

    stream: Mapped[str] = mapped_column(String(64), primary_key=True)
    event_log_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    created_at: Mapped[Utc]


class Inbox(Base):
    """Which consumer has taken which event; written in the transaction of its effects."""

    __tablename__ = "inbox"

    consumer: Mapped[str] = mapped_column(String(64), primary_key=True)
    event_id: Mapped[str] = mapped_column(Id(Prefix.EVENT), primary_key=True)
    processed_at: Mapped[CreatedAt]

    __table_args__ = (Index("ix_inbox_processed_at", "processed_at"),)


class Lease(Base):
    """One holder at a time for a named job; `token` grows with every new holder (fencing)."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[UUID] = mapped_column(Uuid)
    token: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[Utc]
