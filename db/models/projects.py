"""Projects and their environments."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc, state
from db.models.base import Base, TenantOwned, Versioned
from events.environments import EnvironmentKind
from events.previews import ForkPolicy
from zeitwork.ids import Prefix

PREVIEW_LIMIT = 10
PREVIEW_MAX_AGE_DAYS = 14


class Project(Versioned, TenantOwned, Base):
    """An application: where its source is, and which part of the repository it is.

    `github_repo` is `owner/name` in lower case, as GitHub compares names without case.
    `newer_commit` says what a newer commit of an environment does to the builds of older ones; see
    `events.deployments.NewerCommit`.

    Attributes:
        include_paths: globs; a push that changes none of them deploys nothing. None given means
            everything below the root directory.
        exclude_paths: globs of what counts as no change, whatever `include_paths` says.
        preview_branches: globs of branches that get a preview without a pull request.
        preview_limit: previews that may run at once; more wait.
        preview_max_age_days: a preview without news for so long is taken down.
        closing_at: since when it is being removed, with all that belongs to it.
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
    include_paths: Mapped[list[str]] = mapped_column(JSONB, default=list)
    exclude_paths: Mapped[list[str]] = mapped_column(JSONB, default=list)
    previews_enabled: Mapped[bool] = mapped_column(Boolean, default=False)
    preview_branches: Mapped[list[str]] = mapped_column(JSONB, default=list)
    preview_limit: Mapped[int] = mapped_column(Integer, default=PREVIEW_LIMIT)
    preview_max_age_days: Mapped[int] = mapped_column(Integer, default=PREVIEW_MAX_AGE_DAYS)
    preview_forks: Mapped[ForkPolicy] = state(
        ForkPolicy, "preview_forks", default=ForkPolicy.APPROVE
    )
    created_at: Mapped[CreatedAt]
    closing_at: Mapped[Utc | None]


class Environment(Versioned, TenantOwned, Base):
    """A place where one version of a project serves: a branch, a host, a number of replicas.

    `last_number` numbers the deployments; a higher number is the newer one, and fences the older.

    Attributes:
        branch: the branch that it follows, or a glob of branches.
        closing_at: since when it is being removed; nothing new is deployed to it.
    """

    __tablename__ = "environments"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[str] = mapped_column(Id(Prefix.ENVIRONMENT), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(63))
    kind: Mapped[EnvironmentKind] = state(
        EnvironmentKind, "kind", default=EnvironmentKind.PRODUCTION
    )
    branch: Mapped[str] = mapped_column(String(255))
    host: Mapped[str] = mapped_column(String(253), unique=True)
    replicas: Mapped[int] = mapped_column(Integer, default=1)
    last_number: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[CreatedAt]
    closing_at: Mapped[Utc | None]
    closing_reason: Mapped[str | None] = mapped_column(Text)
