"""Triggers: what asked for deployments, and what became of it."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base, TenantOwned, Versioned
from events.states import TriggerState
from events.triggers import TriggerKind
from zeitwork.ids import Prefix


class Trigger(Versioned, TenantOwned, Base):
    """A push, a pull request, a person or a hook, seen from one project.

    Attributes:
        environment_id: None for a push that no environment follows.
        delivery_id: of the webhook, if one brought it.
        commit_sha: None until the reference is looked up.
        clone_url: where from, when not from where the project says.
        reason: why nothing was deployed.
    """

    __tablename__ = "triggers"
    __table_args__ = (
        Index("ix_triggers_project_id_id", "project_id", "id"),
        Index("ix_triggers_open", "created_at", postgresql_where="decided_at IS NULL"),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.TRIGGER), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE")
    )
    environment_id: Mapped[str | None] = mapped_column(
        Id(Prefix.ENVIRONMENT), ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    delivery_id: Mapped[str | None] = mapped_column(Id(Prefix.DELIVERY))
    deployment_id: Mapped[str | None] = mapped_column(
        Id(Prefix.DEPLOYMENT), ForeignKey("deployments.id", ondelete="CASCADE"), index=True
    )
    kind: Mapped[TriggerKind] = state(TriggerKind, "kind")
    ref: Mapped[str] = mapped_column(String(1024))
    commit_sha: Mapped[str | None] = mapped_column(String(64))
    clone_url: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Prose)
    actor: Mapped[str] = mapped_column(String(200))
    state: Mapped[TriggerState] = state(TriggerState, "state")
    reason: Mapped[str | None] = mapped_column(Prose)
    created_at: Mapped[CreatedAt]
    decided_at: Mapped[Utc | None]
