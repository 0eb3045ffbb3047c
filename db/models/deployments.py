"""Deployments: versions of an environment."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base, TenantOwned, Versioned
from events.states import DeploymentState
from zeitwork.ids import Prefix


class Deployment(Versioned, TenantOwned, Base):
    """One version of an environment, from commit to traffic and out again.

    Attributes:
        deadline_at: when its present state has lasted too long (null in a terminal state).
        waiting_reason: why it does not move at the moment, for people.
        correlation_id: the event that set everything off; the key of its timeline.
        trusted: False for code of a fork: it may see no secret.
        host: where this very commit is served while it serves at all; previews have one.
        traceparent: the trace that created it, for work on it that no event leads to.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("environment_id", "number"),
        Index(
            "ix_deployments_open",
            "deadline_at",
            postgresql_where="deadline_at IS NOT NULL",
        ),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.DEPLOYMENT), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    environment_id: Mapped[str] = mapped_column(
        Id(Prefix.ENVIRONMENT), ForeignKey("environments.id", ondelete="CASCADE")
    )
    number: Mapped[int] = mapped_column(Integer)
    state: Mapped[DeploymentState] = state(DeploymentState, "state")
    commit_sha: Mapped[str] = mapped_column(String(64))
    ref: Mapped[str] = mapped_column(String(1024))
    commit_message: Mapped[str] = mapped_column(Prose)
    actor: Mapped[str] = mapped_column(String(200))
    replicas: Mapped[int] = mapped_column(Integer)
    artifact_id: Mapped[str | None] = mapped_column(
        Id(Prefix.ARTIFACT), ForeignKey("artifacts.id", ondelete="RESTRICT"), index=True
    )
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(Prose)
    waiting_reason: Mapped[str | None] = mapped_column(Text)
    trusted: Mapped[bool] = mapped_column(Boolean, default=True)
    host: Mapped[str | None] = mapped_column(String(253), index=True)
    correlation_id: Mapped[str] = mapped_column(String(64), index=True)
    traceparent: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]
    deadline_at: Mapped[Utc | None]
    activated_at: Mapped[Utc | None]
    finished_at: Mapped[Utc | None]
