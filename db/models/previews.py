"""Previews: what a pull request or a branch has of its own."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc, state
from db.models.base import Base, TenantOwned, Versioned
from events.states import PreviewState
from zeitwork.ids import Prefix


class Preview(Versioned, TenantOwned, Base):
    """A preview of a project; its row goes with the last of its instances.

    Attributes:
        source: `pr-` and the number of the pull request, or the branch as in `refs/heads/…`.
        pull_number: None for the preview of a branch.
        head_sha: the newest commit; `deployed_sha` is the last one that was deployed.
        approved_sha: of a fork, the commit that a person let pass.
        reason: what it waits for, or why it is closing.
        expires_at: it is taken down without news until then.
    """

    __tablename__ = "previews"
    __table_args__ = (UniqueConstraint("project_id", "source"),)

    id: Mapped[str] = mapped_column(Id(Prefix.PREVIEW), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE")
    )
    environment_id: Mapped[str | None] = mapped_column(
        Id(Prefix.ENVIRONMENT), ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    repository: Mapped[str] = mapped_column(String(200), index=True)
    source: Mapped[str] = mapped_column(String(1024))
    pull_number: Mapped[int | None] = mapped_column(Integer)
    branch: Mapped[str] = mapped_column(String(1024))
    from_fork: Mapped[bool] = mapped_column(Boolean, default=False)
    head_sha: Mapped[str] = mapped_column(String(64))
    deployed_sha: Mapped[str | None] = mapped_column(String(64))
    approved_sha: Mapped[str | None] = mapped_column(String(64))
    approved_by: Mapped[str | None] = mapped_column(String(200))
    state: Mapped[PreviewState] = state(PreviewState, "state")
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Utc]
