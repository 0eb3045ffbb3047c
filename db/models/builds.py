"""Builds, their log lines, and the machines that build."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    false,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base, TenantOwned, Versioned
from events.states import BuildState
from zeitwork.ids import Prefix


class Build(Versioned, TenantOwned, Base):
    """One attempt to turn a commit into an artifact.

    A builder holds the build while `lease_token` is its own and `lease_until` has not passed.

    Attributes:
        priority: see `events.builds.Priority`; lower ones come first.
        builder: the machine that builds it, or did last.
        attempts: how often a builder began it.
        log_packed: all its lines are in packs, and none comes any more.
        passed_at: when a builder that looked for work had to leave it in the queue for a limit;
            whoever makes room asks for it again.
    """

    __tablename__ = "builds"
    __table_args__ = (
        Index("ix_builds_open", "lease_until", postgresql_where="finished_at IS NULL"),
        Index("ix_builds_unpacked", "finished_at", postgresql_where="NOT log_packed"),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.BUILD), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    deployment_id: Mapped[str] = mapped_column(
        Id(Prefix.DEPLOYMENT), ForeignKey("deployments.id", ondelete="CASCADE"), index=True
    )
    state: Mapped[BuildState] = state(BuildState, "state")
    clone_url: Mapped[str] = mapped_column(Text)
    commit_sha: Mapped[str] = mapped_column(String(64))
    root_directory: Mapped[str] = mapped_column(String(1024))
    lease_token: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[Utc | None]
    priority: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    builder: Mapped[str | None] = mapped_column(String(253))
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    passed_at: Mapped[Utc | None]
    log_packed: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(Prose)
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Utc | None]
    finished_at: Mapped[Utc | None]


class BuildLog(TenantOwned, Base):
    """One line of the output of a build that runs; `line_number` starts at 1."""

    __tablename__ = "build_logs"
    __table_args__ = (CheckConstraint("stream IN ('stdout', 'stderr', 'platform')", name="stream"),)

    build_id: Mapped[str] = mapped_column(
        Id(Prefix.BUILD), ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True
    )
    line_number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[Utc]
    line: Mapped[str] = mapped_column(Prose)
    stream: Mapped[str] = mapped_column(String(8), default="platform", server_default="platform")


class BuildLogPack(TenantOwned, Base):
    """Lines of a build that has ended, compressed: up to `last_line`, from the pack before on."""

    __tablename__ = "build_log_packs"

    build_id: Mapped[str] = mapped_column(
        Id(Prefix.BUILD), ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True
    )
    last_line: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class BuilderHost(Base):
    """A machine that builds, and how many builds it takes at once."""

    __tablename__ = "builders"

    name: Mapped[str] = mapped_column(String(253), primary_key=True)
    slots: Mapped[int] = mapped_column(Integer)
    seen_at: Mapped[Utc]
