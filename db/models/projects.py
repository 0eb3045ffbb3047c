"""Projects and their environments."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id
from db.models.base import Base, TenantOwned, Versioned
from zeitwork.ids import Prefix


class Project(Versioned, TenantOwned, Base):
    """An application: where its source is, and which part of the repository it is.

    `github_repo` is `owner/name` in lower case, as GitHub compares names without case.
    `newer_commit` says what a newer commit of an environment does to the builds of older ones; see
    `events.deployments.NewerCommit`.
    """

    __tablename__ = "projects"
    __table_args__ = (
        Index("ix_projects_github_repo", "github_repo"),
        CheckConstraint("newer_commit IN ('cancel', 'queue', 'all')", name="newer_commit"),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.PROJECT), primary_key=True)
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    github_repo: Mapped[str | None] = mapped_column(String(200))
    github_installation_id: Mapped[int | None] = mapped_column(BigInteger)
    clone_url: Mapped[str | None] = mapped_column(Text)
    default_branch: Mapped[str] = mapped_column(String(255), default="main")
    root_directory: Mapped[str] = mapped_column(String(1024), default="")
    health_path: Mapped[str] = mapped_column(String(1024), default="/")
    newer_commit: Mapped[str] = mapped_column(String(16), default="cancel", server_default="cancel")
    created_at: Mapped[CreatedAt]


class Environment(Versioned, TenantOwned, Base):
    """A place where one version of a project serves: a branch, a host, a number of replicas.

    `last_number` numbers the deployments; a higher number is the newer one, and fences the older.
    """

    __tablename__ = "environments"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[str] = mapped_column(Id(Prefix.ENVIRONMENT), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(63))
    branch: Mapped[str] = mapped_column(String(255))
    host: Mapped[str] = mapped_column(String(253), unique=True)
    replicas: Mapped[int] = mapped_column(Integer, default=1)
    last_number: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[CreatedAt]
