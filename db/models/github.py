"""Webhook deliveries: kept for good, because their id is the only guard against replay."""

from __future__ import annotations

from sqlalchemy import Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc, state
from db.models.base import Base
from events.states import DeliveryState
from zeitwork.ids import Prefix


class WebhookDelivery(Base):
    """One delivery: the body as it came (zstd), and what became of it.

    It belongs to the platform: which tenants it concerns is only known once it is processed.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_open", "created_at", postgresql_where="finished_at IS NULL"),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.DELIVERY), primary_key=True)
    guid: Mapped[str] = mapped_column(String(64), unique=True)
    event: Mapped[str] = mapped_column(String(64))
    action: Mapped[str | None] = mapped_column(String(64))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[DeliveryState] = state(DeliveryState, "state")
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Utc | None]
